"""The rooms and readers of a plan: started, wired to each other, watched, restarted; and what they last said."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edge_infer.allowance import Allowance
from edge_infer.boot import new_boot
from edge_infer.codec import Record, ShortText, dumps, encode, replace
from edge_infer.config.plan import PipelinePlan, Plan
from edge_infer.errors import shortened
from edge_infer.lights import given, lit, new_lights, put_out
from edge_infer.logs import printable
from edge_infer.messages import Sentence, timestamp
from edge_infer.rooms import (
    Announce,
    ApplyPlan,
    AttachReader,
    EngineDown,
    EngineReport,
    EngineUp,
    Grab,
    GrabDone,
    Offence,
    PublisherReport,
    ReaderReport,
    Restrain,
    Stop,
    Tally,
    WhyAnswer,
    WhyQuestion,
)
from edge_infer.sandbox.fence import Fence, Identity, identities
from edge_infer.sandbox.needs import engine_fence, publisher_fence
from edge_infer.slate import new_slate
from edge_infer.supervisor.children import MAX_OFFENCE, STARTING, Child, Recipe, death, fell, pair
from edge_infer.supervisor.deaths import Death
from edge_infer.supervisor.model_sender import ModelSender
from edge_infer.supervisor.readers import Readers
from edge_infer.supervisor.tallies import all_numbered, believed
from edge_infer.supervisor.walls import together

log = logging.getLogger(__name__)

ENGINE_SILENT: Final = 10.0
PUBLISHER_SILENT: Final = 15.0
SLOWER: Final = 10
"""How much longer a model may take to load in the engine than it took where it was tried."""
UNKNOWN: Final = 30.0
"""Seconds that a model may take which was never tried."""
MOST_DEATHS: Final = 16
"""Dead engines of which a new publisher is told: what became of their numbers may be news to it."""
LOOK_EVERY: Final = 5.0
"""Seconds between two looks for files that were replaced while the broker cannot be reached."""
MAX_ACCUSATIONS, ACCUSATIONS_PER_SECOND = 5, 1 / 60
"""How often a process is believed that another one floods it: an accuser in wrong hands would end the others so."""
ENGINE_STOP, PUBLISHER_STOP = 1.6, 2.8


class Trouble(Record, frozen=True):
    """The last thing that went wrong."""

    ts: ShortText
    text: Sentence


@dataclass(slots=True)
class Heard:
    """What the rooms last said."""

    engine: EngineReport | None = None
    publisher: PublisherReport | None = None
    announced: dict[str, Announce] = field(default_factory=dict)
    trouble: Trouble | None = None


class House:
    """Owns every child and every way between two of them."""

    def __init__(self, log_level: str) -> None:
        self.heard = Heard()
        self._boot = ""  # of the engine that was started last
        self._tallies: tuple[Tally, ...] = ()  # the last that it reported
        self._deaths: deque[EngineDown] = deque(maxlen=MOST_DEATHS)
        self._grabs: list[GrabDone] = []
        self._whys: list[WhyAnswer] = []
        self._plan: Plan | None = None
        self._order: ApplyPlan | None = None
        self._why: str | None = None
        self._accused = False  # the engine ends because the publisher says so: that speaks against no model
        self.restraint = Restrain()
        """How pipelines are held back."""
        self.engine_patience: float | None = None
        """Seconds that the engine may say nothing, where that is less than usual."""
        self._level = ("--log-level", log_level)
        self._results = pair()  # both ends stay open here: what is under way survives the death of either room
        engine_end, publisher_end = self._results
        self._slate, self._lights = new_slate(), new_lights()
        self.engine = Child(
            Recipe(
                "engine",
                "edge_infer.engine",
                self._level,
                (EngineReport, GrabDone, WhyAnswer, Offence),
                {"--results": engine_end, "--lights": self._lights},
            )
        )
        self.publisher = Child(
            Recipe(
                "publisher",
                "edge_infer.publisher",
                self._level,
                (PublisherReport, Offence),
                {"--results": publisher_end, "--slate": self._slate},
            )
        )
        self._accusations = {
            child: Allowance(MAX_ACCUSATIONS, ACCUSATIONS_PER_SECOND) for child in (self.engine, self.publisher)
        }
        self._model_sender = ModelSender(self.engine)
        self._readers = Readers(self._level)
        self._fences: dict[Child, Fence] = {}  # of the rooms as they run
        self._merged = False  # whether the publisher was started in this process
        self._seen: dict[Child, frozenset[Identity]] = {}  # the files that these led to
        self._replaced: set[Child] = set()  # told to end, because another fence is due
        self._looked = 0.0

    def apply(self, order: ApplyPlan) -> None:
        """Makes a plan hold: the publisher first, because it must know the labels before results come.

        At the start the engine is first: it takes longest, and its results wait.
        """
        before, plan = self._plan, order.plan
        self._plan = plan
        self._order = replace(order, alone=())  # an engine that begins has nothing to let go of
        self._forget_models(plan)
        for reader in self._readers.change(plan.sources):
            self.engine.tell(AttachReader(reader.plan.name), (reader.engine_end,))
        for child in (self.publisher, self.engine) if before else (self.engine, self.publisher):
            if child.pid is None and before is None:
                self._start(child)
            elif not self._fences[child].covers(self._fence(child)):
                self._replace(child, "has to reach other files")
            elif child is self.publisher and self._merged != plan.merged:
                self._replace(child, f"moves {'into' if plan.merged else 'out of'} the supervisor's process")
            elif child is self.engine:
                self._model_sender.send(order)
                child.tell(order)
            else:
                child.tell(ApplyPlan(plan))

    def announce(self, topic: str, payload: object) -> None:
        """A retained payload of the device, said again to every new publisher; the same one is not said twice."""
        word = Announce(topic, encode(payload))
        if self.heard.announced.get(topic) != word:
            self.heard.announced[topic] = word
            self.publisher.tell(word)

    def restrain(self, word: Restrain) -> None:
        """Holds pipelines back, or lets go of them: the engine does it, and the publisher tells."""
        if word != self.restraint:
            self.restraint = word
            for child in (self.engine, self.publisher):
                child.tell(word)

    def grab(self, source: str, file: int) -> bool:
        """Asks the engine for a picture; False when there is no engine now."""
        return self.engine.tell(Grab(source), (file,))

    def ask_why(self, question: WhyQuestion) -> bool:
        """Asks the engine what it decided; False when there is no engine now."""
        return self.engine.tell(question)

    def take_whys(self) -> list[WhyAnswer]:
        """The answers that have come since the last call."""
        done, self._whys = self._whys, []
        return done

    def take_grabs(self) -> list[GrabDone]:
        """The pictures that the engine has finished since the last call."""
        done, self._grabs = self._grabs, []
        return done

    def note(self, text: str) -> None:
        """Remembers the last thing that went wrong, for ``status``."""
        self.heard.trouble = Trouble(timestamp(time.time()), shortened(text))

    def files(self) -> list[int]:
        """The descriptors to wait on until they are readable."""
        return [file for child in self._children() for file in child.files()]

    def unsent(self) -> list[int]:
        """The descriptors to wait on until they are writable."""
        return [file for child in self._children() for file in child.unsent()]

    def pids(self) -> list[int]:
        """The processes that run here."""
        return [child.pid for child in self._children() if child.pid is not None]

    def serve(self) -> list[Death]:
        """Hears every child, and buries those that have ended; how the engine died, each time that it did."""
        for word in self.engine.hear():
            if isinstance(word, GrabDone):
                self._grabs.append(word)
            elif isinstance(word, WhyAnswer):
                self._whys.append(word)
            elif isinstance(word, Offence):
                self._accuse(self.engine, word)
            elif word.boot == self._boot:
                self._tallies = believed(self._tallies, word.tallies)
                word = self.heard.engine = replace(word, tallies=self._tallies)  # noqa: PLW2901
                self._model_sender.hear(word)
                self.publisher.tell(word)
        for word in self.publisher.hear():
            if isinstance(word, Offence):
                self._accuse(self.publisher, word)
            else:
                self.heard.publisher = word
        self._readers.hear()
        self._kill_the_hung()
        deaths: list[Death] = []
        for child in self._children():
            if (status := child.ended()) is not None:
                ours, busy = self._why is not None, lit(self._lights)
                text = self._mourn(child, status)
                accused, self._accused = self._accused, self._accused and child is not self.engine
                if child is self.engine and text and not accused:
                    deaths.append(Death(text, busy, fell=ours or fell(status)))
        return deaths

    def revive(self) -> None:
        """Starts again what has ended."""
        for child in self._children():
            if child.pid is None and time.monotonic() >= child.due and self._plan is not None:
                self._start(child)
        self._look_for_others()

    def next_due(self) -> float:
        """When `serve` has to be called at the latest, on the monotonic clock."""
        return min(child.due if child.pid is None else child.output_due() for child in self._children())

    def alive(self) -> bool:
        """Whether engine and publisher make progress, the watchdog's food: a mere start of either is none."""
        stuck = self.heard.engine is not None and self.heard.engine.stuck
        return time.monotonic() - min(self.engine.heard, self.publisher.heard) < 2 * STARTING and not stuck

    def lost(self) -> bool:
        """Whether a room has to be killed that cannot be alone, because it is a thread of this process."""
        return self.publisher.unkilled

    def readers(self) -> Mapping[str, Child]:
        """The readers by source."""
        return self._readers.children()

    def close(self) -> bool:
        """Stops everything in the order of the flow; False when something had to be killed. May be called twice."""
        orderly = True
        if self.publisher.pid is None and self._plan is not None:
            self._start(self.publisher)  # it died a moment ago; somebody has to take the last results, say goodbye
        self._readers.end()
        if not self.engine.spoke:
            self.engine.kill(signal.SIGTERM)  # it is still starting, holds nothing, and hears no order for a while
            if not self.publisher.spoke and self.engine.heard < 0.0:
                self.publisher.kill(signal.SIGTERM)  # so is this one, and no engine ever gave it anything to say
        self.engine.tell(Stop())
        orderly &= self.engine.stop(ENGINE_STOP)
        orderly &= self._readers.close()
        self.publisher.tell(Stop())
        orderly &= self.publisher.stop(PUBLISHER_STOP)
        self._plan = None
        for end in (*self._results, self._slate, self._lights):
            if end >= 0:
                os.close(end)
        self._results, self._slate, self._lights = (-1, -1), -1, -1
        return orderly

    def _children(self) -> list[Child]:
        return [self.engine, self.publisher, *self._readers.children().values()]

    def _fence(self, child: Child) -> Fence:
        """What the room has to reach for the plan that holds."""
        assert self._plan is not None
        return engine_fence(self._plan) if child is self.engine else publisher_fence(self._plan)

    def _start(self, child: Child) -> None:
        """Starts it behind the walls that the plan asks for, and tells it what holds.

        An engine gets a boot id that the publisher has heard of before.
        """
        words: tuple[str, ...] = ()
        if child in (self.engine, self.publisher):
            fence = self._fences[child] = self._fence(child)
            self._seen[child] = identities(fence.reads)
            words = ("--fence", dumps(fence).decode())
        if child is self.engine:
            self._boot, self._tallies = new_boot(), ()
            self._model_sender.start_over()
            put_out(self._lights)
            self.publisher.tell(EngineUp(self._boot))
            words = (*words, "--boot", self._boot)
        if child is self.publisher:
            self._merged = self._plan is not None and self._plan.merged
            words = (*words, *(("--merged",) if self._merged else ()))
        child.start(*words, thread=child is self.publisher and self._merged)
        self._brief(child)

    def _replace(self, child: Child, why: str) -> None:
        """A wall cannot be moved: the room ends in order, and another one starts behind its own."""
        if child not in self._replaced and child.pid is not None:
            log.info("%s %s and is started anew", child.recipe.name, why)
            self._replaced.add(child)
            child.tell(Stop(replaced=True))

    def _look_for_others(self) -> None:
        """A fence holds for files, not for what takes their place: a room that lacks something may lack just that."""
        now = time.monotonic()
        if now < self._looked + LOOK_EVERY or self._plan is None:
            return
        self._looked = now
        publisher, engine = self.heard.publisher, self.heard.engine
        local = [source.name for source in self._plan.sources if not source.live]
        lacking = {
            self.publisher: publisher is not None and not publisher.connected,
            self.engine: engine is not None
            and any(engine.sources[name].state in {"starting", "lost"} for name in local if name in engine.sources),
        }
        for child, lacks in lacking.items():
            if lacks and child.spoke and not identities(self._fence(child).reads) <= self._seen[child]:
                self._replace(child, "has to reach files that were not there or have been replaced")

    def pipelines(self) -> tuple[PipelinePlan, ...]:
        """Those of the plan that holds."""
        return self._plan.pipelines if self._plan is not None else ()

    def walls(self) -> dict[str, str]:
        """What the kernel enforces in the rooms, as each of them has tried it."""
        heard: dict[str, EngineReport | PublisherReport | ReaderReport | None]
        heard = {"engine": self.heard.engine, "publisher": self.heard.publisher}
        heard |= {f"reader {reader.plan.name}": reader.last for reader in self._readers}
        return together({room: report.sandbox for room, report in heard.items() if report is not None})

    def _brief(self, child: Child) -> None:
        if self._plan is None:
            return
        if child is self.engine:
            for reader in self._readers:
                child.tell(AttachReader(reader.plan.name), (reader.engine_end,))
            self._tell_restraint(child)
            assert self._order is not None  # as the plan is
            self._model_sender.send(self._order)
            child.tell(self._order)
        elif child is self.publisher:
            child.tell(ApplyPlan(self._plan))
            self._tell_restraint(child)
            for down in self._deaths:
                child.tell(down)
            if self._boot and self.engine.pid is not None:
                child.tell(EngineUp(self._boot))
            for word in self.heard.announced.values():
                child.tell(word)
            if self.heard.engine is not None:
                child.tell(self.heard.engine)

    def _tell_restraint(self, child: Child) -> None:
        if self.restraint.governor is not None:
            child.tell(self.restraint)

    def _mourn(self, child: Child, status: int) -> str:
        """Takes note of an end; what it was in words, or nothing where it was meant to end."""
        planned, text = child in self._replaced, ""
        self._replaced.discard(child)
        if planned:
            child.due = 0.0
            self._why = None if child is self.engine else self._why
        elif status == 0 and child not in (self.engine, self.publisher):
            log.info("%s has ended; another one is started", child.recipe.name)
        else:
            text = f"{child.recipe.name} {death(status)}"
            if child is self.engine and self._why is not None:
                text, self._why = f"engine {self._why} and was killed", None
            log.error("%s; it is started again", text)
            self.note(text)
        if child is self.engine:
            tallies = all_numbered(self._tallies, given(self._lights))
            down = EngineDown("starting" if planned else "engine_failed", self._boot, tallies)
            self._deaths.append(down)
            self.publisher.tell(down)
            self.heard.engine = None
        elif child is self.publisher:
            self.heard.publisher = None
        return text

    def kill_engine(self, why: str) -> None:
        """For what a thread of it does not come back from."""
        self._kill(self.engine, why)
        self.heard.engine = None

    def _kill_the_hung(self) -> None:
        for child, patience in ((self.engine, self._engine_patience()), (self.publisher, PUBLISHER_SILENT)):
            if child.offence:
                self._kill(child, child.offence)
            elif child.silent() > (patience if child.spoke else STARTING):
                self._kill(child, f"said nothing for {child.silent():.0f} s")
        heard = self.heard.engine
        if heard is not None and heard.stuck:
            self.kill_engine(f"is stuck in {', '.join(heard.stuck)}")
        for child, why in self._readers.hung():
            self._kill(child, why)

    def _accuse(self, accuser: Child, word: Offence) -> None:
        """Kills what floods another process. The publisher knows the engine only, and the engine no engine."""
        child: Child | None
        if word.by == "reader":
            child = self._readers.children().get(word.source)
        else:
            child = self.engine if word.by == "engine" else self.publisher
        if child is None or child is accuser or (accuser is self.publisher and child is not self.engine):
            return
        if child.pid is None or child.killed or not child.killable or not self._accusations[accuser].take():
            return
        self._accused |= child is self.engine
        self._kill(child, f"sends the {accuser.recipe.name} {printable(word.what)[:MAX_OFFENCE]}")

    def _engine_patience(self) -> float:
        """Seconds that the engine may say nothing: while a runtime reads a model, no other thread of it has a turn."""
        heard, order = self.heard.engine, self._order
        patience = min(ENGINE_SILENT, self.engine_patience or ENGINE_SILENT)
        if heard is None or order is None:
            return STARTING
        if not heard.loading and heard.order == order.order:
            return patience
        loads = [model.measured.load for model in (*order.plan.models(), *order.plan.shadows())]
        return patience + sum(UNKNOWN if load is None else SLOWER * load for load in loads)

    def _forget_models(self, plan: Plan) -> None:
        """What was said of models that are gone: it is not said again, and is news when they come back."""
        kept = {"info", "config", *(f"model/{name}" for name in plan.spoken_of())}
        for topic in self.heard.announced.keys() - kept:
            del self.heard.announced[topic]

    def _kill(self, child: Child, why: str) -> None:
        text = f"{child.recipe.name} {why}"
        if child.killable:
            log.error("%s and is killed", text)
            self.note(f"{text} and was killed")
        else:
            log.error("%s and can only be ended with the supervisor, of whose process it is part", text)
        if child is self.engine:
            self._why = why
        child.kill()
