"""Converts valid configuration sections into a plan: absolute paths, resolved models, merged overrides."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from edge_infer.config.compile.named_files import NamedFiles
from edge_infer.config.compile.pipelines import CascadeBuilder, SceneBuilder, unfit
from edge_infer.config.compile.spelled_texts import SpelledTexts
from edge_infer.config.schema.broker import Tls
from edge_infer.config.schema.cascades import Crops
from edge_infer.config.schema.file import Config, Metrics, ModelSection, Mqtt
from edge_infer.config.schema.keys import planned
from edge_infer.config.schema.pipelines import Pipeline, delegate_plan, motion_plan, why_not
from edge_infer.config.schema.scene import Drift, drift_plan
from edge_infer.config.schema.signal_sources import SourceSection
from edge_infer.config.schema.sources import OtherSource
from edge_infer.contract.codec import JsonValue, decode, encode, replace
from edge_infer.contract.messages import MAX_MESSAGE_BYTES
from edge_infer.errors import ConfigError, SourceError, WireError
from edge_infer.models.packages.package import MANIFEST
from edge_infer.models.request import ModelRequest, Policy
from edge_infer.plan.credentials import PLACE
from edge_infer.plan.outcome_limits import most_values, state_bytes
from edge_infer.plan.records import (
    NMS_TASKS,
    CropsPlan,
    Gives,
    InputPlan,
    MetricsPlan,
    ModelInput,
    ModelPlan,
    MotionPlan,
    MqttPlan,
    Overrides,
    PipelinePlan,
    Problem,
    ShadowPlan,
    SignalPlan,
    SourcePlan,
    TlsPlan,
)
from edge_infer.plan.source_kinds import KINDS
from edge_infer.platform.paths import default_device_id, default_state_dir
from edge_infer.readers.describe_plugin import describe
from edge_infer.readers.sources import source_class, source_target
from edge_infer.yamlfile.error_text import suggestion, unknown
from edge_infer.yamlfile.load import Document, Steps
from edge_infer.yamlfile.scalars import shown

_OURS: Final = "edge_infer."
DEFAULT_OVERLAP: Final = 0.1
"""Share of a tile that its neighbour also covers, by default."""
LATE: Final = 1.5
"""Number of intervals of `fps` after which the next picture of a source is late."""
PERIODS: Final = 2
"""Number of periods of `rate` after which the next sample of a source is late."""
COMMON: Final = frozenset({"kind", "fps", "rotate", "flip"})
"""Keys that every source may have; all other keys are options of its kind."""
WORDS: Final[Mapping[Gives, str]] = {"image": "pictures", "samples": "samples", "text": "text"}


@dataclass(slots=True)
class Builder:
    """Builds the parts of a plan and collects problems that the schema does not detect."""

    document: Document
    files: NamedFiles
    problems: list[Problem] = field(default_factory=list)
    spelled: SpelledTexts = field(init=False)
    _readers: dict[str, str] = field(default_factory=dict)  # the source that reads a pipe, a port or the standard input
    _values: dict[str, int] = field(default_factory=dict)  # number of values in a sample, by source

    def __post_init__(self) -> None:
        self.spelled = SpelledTexts(self.document)

    @property
    def cascades(self) -> CascadeBuilder:
        """Return the builder for pipelines with another pipeline as source."""
        return CascadeBuilder(self.document, self.problems)

    def device(self, config: Config) -> str:
        """Return the name of this device."""
        return config.device.id or default_device_id()

    def state_dir(self, config: Config) -> str:
        """Return the absolute path of the state directory."""
        return self.files.absolute(config.device.state_dir or str(default_state_dir()))

    def mqtt(self, section: Mqtt, device: str) -> MqttPlan:
        """Return the plan of the broker connection, including the values that follow from other keys."""
        secret = section.password_file
        return MqttPlan(
            host=section.host,
            port=section.port or (1883 if section.tls is None else 8883),
            tls=self._tls(section.tls, ("mqtt", "tls")),
            username=section.username,
            password_file=self.files.secret(("mqtt", "password_file"), secret) if secret else None,
            topic=f"{section.prefix}/{device}",
            qos=section.qos,
            client_id=section.client_id or f"edge-infer-{device}",
            max_rate=section.max_rate,
        )

    def metrics(self, section: Metrics | None) -> MetricsPlan | None:
        """Return the plan of the metrics file; None without the section."""
        if section is None:
            return None
        plan = planned(MetricsPlan, section)
        return replace(plan, file=self.files.absolute(plan.file))

    def _tls(self, tls: Tls | None, steps: Steps) -> TlsPlan | None:
        if tls is None:
            return None
        authorities = self.files.authorities((*steps, "ca_file"), tls.ca_file) if tls.ca_file else None
        cert, key = self.files.identity(steps, tls.cert_file, tls.key_file) if tls.cert_file else (None, None)
        return TlsPlan(authorities, cert, key)

    def request(self, name: str, model: ModelSection, state_dir: str, policy: Policy) -> ModelRequest:
        """Return the request that resolves a model: its file, or the folder of its package."""
        if model.file is not None:
            file = self.files.absolute(model.file)
        else:
            package, _, version = (model.use or "").partition("@")
            file = str(Path(state_dir, "models", package, version))
        from_file = isinstance(model.labels, str)
        return ModelRequest(
            name=name,
            file=file,
            labels=model.labels if isinstance(model.labels, tuple) else None,
            labels_file=self.files.absolute(str(model.labels)) if from_file else None,
            sha256=model.sha256.lower() if model.sha256 else None,
            roots=(str(self.files.folder), str(Path(state_dir, "models")), *installed_models()),
            policy=policy,
            private=self.files.private,
        )

    def source(self, name: str, section: SourceSection) -> SourcePlan | None:
        """Return the plan of a source; None if it has a problem."""
        steps: Steps = ("sources", name)
        if isinstance(section, Crops):
            return self.cascades.source(steps, name, section)
        kind: str = getattr(section, "kind", "")
        try:
            target = source_target(kind)
            if not target.startswith(_OURS):
                return self._foreign(steps, section, target)
            found = source_class(target)
        except ConfigError as error:
            self.problems.append(self.document.problem((*steps, "kind"), str(error)))
            return None
        before = len(self.files.problems)
        options = self._options(steps, section)
        if any(item.name == "fps" for item in dataclasses.fields(found.Options)) and section.fps is not None:
            options["fps"] = section.fps
        instance = self._instance(steps, found, options)
        if instance is None or not self._suits(steps, section, instance, options):
            return None
        if len(self.files.problems) == before:
            self._look_inside(steps, instance)
        return self._source_plan(name, section, target, options, instance)

    def _foreign(self, steps: Steps, section: SourceSection, target: str) -> SourcePlan | None:
        """Return the plan of a source of another package, without running its code in this process.

        Return None if the source has a problem.
        """
        options = self._options(steps, section)
        found = describe(target, options, ".".join(map(str, steps)), section.fps)
        if "fps" in found.known and section.fps is not None:
            options["fps"] = section.fps
        if not self._keys_fit(steps, options, found.known):
            return None
        if found.misfit:
            self._misfit(steps, found.misfit)
            return None
        if not self._suits(steps, section, found, options):
            return None
        if found.problem:
            self.files.wrong((*steps, "file" if "file" in found.known else "columns"), found.problem)
        return self._source_plan(str(steps[1]), section, target, options, found)

    def _source_plan(
        self, name: str, section: SourceSection, target: str, options: Mapping[str, JsonValue], instance: Any
    ) -> SourcePlan:
        return SourcePlan(
            name=name,
            kind=getattr(section, "kind", ""),
            target=target,
            live=instance.live,
            network=instance.network,
            options=options,
            fps=section.fps,
            rotate=section.rotate,
            flip=section.flip,
            gives=instance.gives,
            noisy=instance.noisy,
            stdin=getattr(instance, "stdin", False),
            stills=getattr(instance, "stills", False),
            pause=_pause(instance, section.fps, options.get("rate")),
            holds_writer=getattr(instance, "holds_writer", False),
            spelled=self.spelled.below(("sources", name)),
        )

    def _suits(self, steps: Steps, section: SourceSection, instance: Any, options: Mapping[str, JsonValue]) -> bool:
        """Report keys without effect, and input that two sources read although only one can; return False for any."""
        before = len(self.problems)
        for key in ("rotate", "flip"):
            if key in section.model_fields_set and instance.gives != "image":
                text = f"belongs to sources of pictures; this one gives {WORDS[instance.gives]}; remove this key"
                self.problems.append(self.document.problem((*steps, key), text))
        key = "device" if getattr(section, "kind", "") == "serial" else "file"
        stdin = getattr(instance, "stdin", False)
        if stdin or key == "device" or getattr(instance, "holds_writer", False):
            place = "standard input" if stdin else str(options.get(key))
            if other := self._readers.get(place):
                text = f'{place} can be read only once, and source "{other}" reads it'
                self.problems.append(self.document.problem((*steps, key), text + "; use a named pipe" * stdin))
            self._readers[place] = str(steps[1])
        return len(self.problems) == before

    def _look_inside(self, steps: Steps, instance: Any) -> None:
        """Store the number of values in a sample; report a file from which no samples, or not all, can be read."""
        self._values[str(steps[1])] = _stated_values(instance)
        check = getattr(instance, "check", None)
        if check is None or instance.live:
            return
        try:
            check()
            self._values[str(steps[1])] = _stated_values(instance)
            if odd := getattr(instance, "odd", ""):
                self.files.warnings.append(self.document.problem((*steps, "file"), odd))
        except SourceError as error:
            key = "file" if hasattr(instance.Options, "file") else "columns"
            self.files.wrong((*steps, key), str(error))

    def _options(self, steps: Steps, section: SourceSection) -> dict[str, JsonValue]:
        """Return the options of the kind, with the names that its ``Options`` record uses."""
        if isinstance(section, OtherSource):
            return dict(section.model_extra or {})
        options: dict[str, Any] = {}
        for key, value in section:
            if key in COMMON or value is None:
                continue
            if key == "size":
                options["width"], options["height"] = value
            elif key == "url":
                options |= _without_user(value)
            else:
                options[key] = self._option((*steps, key), key, value, pipes=section.pipes)
        if "password_file" in options and not options.get("username") and PLACE not in options.get("url", ""):
            options["username"] = ""
        return options

    def _option(self, steps: Steps, key: str, value: Any, *, pipes: bool) -> Any:
        """Return one option. Paths become absolute, and the files that they name must exist."""
        if key == "password_file":
            return self.files.secret(steps, value)
        if key in ("file", "path", "root"):
            self.files.inputs.append((steps, self.files.absolute(value)))
        if key == "file":
            return self.files.input(steps, value) if pipes else self.files.file(steps, value)
        if key == "root":
            return self.files.absolute(value)
        if key == "tls":
            return encode(self._tls(value, steps))
        if key == "path":
            return self.files.pictures(steps, value)
        if key == "images":
            self.files.inputs += [((*steps, index), self.files.absolute(image)) for index, image in enumerate(value)]
            return [self.files.file((*steps, index), image) for index, image in enumerate(value)]
        if key == "command":
            return [self.files.program((*steps, 0), value[0]), *value[1:]]
        return list(value) if isinstance(value, tuple) else value

    def _keys_fit(self, steps: Steps, options: Mapping[str, Any], known: Mapping[str, bool]) -> bool:
        before = len(self.problems)
        for key in options:
            if key not in known:
                self.problems.append(self.document.problem((*steps, key), unknown(key, known)))
        for key, required in known.items():
            if required and key not in options:
                self.problems.append(self.document.problem((*steps, key), "is missing"))
        return len(self.problems) == before

    def _instance(self, steps: Steps, found: Any, options: Mapping[str, JsonValue]) -> Any:
        where = ".".join(map(str, steps))
        try:
            return found(decode(found.Options, dict(options), where))
        except WireError as error:
            self._misfit(steps, str(error))
            return None

    def _misfit(self, steps: Steps, error: str) -> None:
        """Report an option that the source's ``Options`` record rejects."""
        key, _, text = error.removeprefix(".".join(map(str, steps))).partition(": ")
        below = tuple(key.strip(".").split(".")) if key else ()
        self.problems.append(self.document.problem((*steps, *below), text))

    def _overrides(self, steps: Steps, section: Pipeline, plan: ModelInput, source: SourcePlan | None) -> Overrides:
        """Return the model settings that the pipeline overrides; report settings that do not fit the model."""
        said = section.preprocess
        resize, color, scaling = said.resize, said.color, said.scaling
        found = Overrides(section.threshold, section.nms.iou, section.nms.max)
        if not isinstance(plan, InputPlan):
            if resize or color or scaling:
                text = "the model takes no pictures, so there is nothing to resize or colour; remove this key"
                self.problems.append(self.document.problem((*steps, "preprocess"), text))
            return found
        if color and (color == "gray") != (plan.color == "gray"):
            text = f"the model's input is {plan.color}: it has {'one channel' if color != 'gray' else 'colours'}"
            self.problems.append(self.document.problem((*steps, "preprocess", "color"), text))
        if said.overlap is not None and said.tiles is None:
            text = "does nothing without tiles; for example tiles: 2x2"
            self.problems.append(self.document.problem((*steps, "preprocess", "overlap"), text))
        if said.tiles and source is not None and source.parent:
            text = "the model gets each crop as a whole; remove this key"
            self.problems.append(self.document.problem((*steps, "preprocess", "tiles"), text))
        tiles, overlap = (1, 1), 0.0  # these two, and the scaling, are always the pipeline's own
        if said.tiles:
            tiles, overlap = said.tiles, DEFAULT_OVERLAP if said.overlap is None else said.overlap
        if scaling is None:
            scaling = "exact" if source is not None and source.stills else "fast"
        return replace(found, resize=resize, color=color, scaling=scaling, tiles=tiles, overlap=overlap)

    def pipeline(
        self,
        name: str,
        section: Pipeline,
        models: Mapping[str, ModelPlan],
        sources: Sequence[SourcePlan],
        cascade: CropsPlan | None = None,
        *,
        drift: Drift | None = None,
    ) -> PipelinePlan:
        """Return the plan of a pipeline with its overrides. ``cascade`` is given if its source is crops.

        ``drift`` is the top-level section, which applies to a pipeline without a section of its own.
        """
        steps: Steps = ("pipelines", name)
        model = models[section.model]
        source_name = section.source if isinstance(section.source, str) else name
        source = next((source for source in sources if source.name == source_name), None)
        self._check_source(steps, section, model, source, sources)
        self._check_labels(steps, section, model)
        self._check_task(steps, section, model)
        said = self._overrides(steps, section, model.input, source)
        merged = said.onto(model)
        plan = planned(
            PipelinePlan,
            section,
            name=name,
            source=source_name,
            model=merged,
            threshold=merged.threshold,
            fps=_slower(section.fps, source),
            labels=section.labels,
            threads=1 if section.threads == "auto" else section.threads,
            delegate=delegate_plan(section.delegate, self.files),
            mask=tuple(section.mask or ()),
            publish=section.publish.mode,
            interval=section.publish.interval,
            shadow=self._shadow(steps, section, merged, models, said),
            crops=cascade,
            motion=self._motion(steps, section, model, source),
            said=said,
            own=Overrides.of(model),
            drift=drift_plan(drift, section.drift, own="drift" in section.model_fields_set),
            **SceneBuilder(self.document, self.problems).parts(steps, section, model, cascade),
        )
        self._check_state(steps, plan)
        return plan

    def _check_state(self, steps: Steps, plan: PipelinePlan) -> None:
        if (size := state_bytes(plan)) <= MAX_MESSAGE_BYTES:
            return
        if values := plan.model.values:
            few = len(values) <= (most := most_values(plan))
            text = (
                f"a state with the {len(values)} values of {plan.model.title} can take {size} bytes, and the limit is "
                f"{MAX_MESSAGE_BYTES}, which has room for {most} values with names of one letter: "
                f"{'give them shorter names or units in the manifest' if few else 'use a model with fewer values'}"
            )
            self.problems.append(self.document.problem((*steps, "model"), text))
        else:
            zones = f" in {len(plan.zones) + 1} rows, one for each zone and one for all" if plan.zones else ""
            text = (
                f"a state that counts these {len(plan.labels or ())} labels{zones} can take {size} bytes, and the "
                f"limit is {MAX_MESSAGE_BYTES}: name fewer or shorter labels, or give zones labels of their own"
            )
            self.problems.append(self.document.problem((*steps, "labels"), text))

    def _shadow(
        self,
        steps: Steps,
        section: Pipeline,
        serving: ModelPlan,
        models: Mapping[str, ModelPlan],
        said: Overrides,
    ) -> ShadowPlan | None:
        """Return the plan of the shadow model, which could replace the pipeline's model; None if there is none."""
        if section.shadow is None or section.shadow.model not in models:
            return None
        model = models[section.shadow.model]
        if why := unfit(model, serving, section):
            self.problems.append(self.document.problem((*steps, "shadow", "model"), why))
            return None
        merged = said.onto(model)
        return planned(ShadowPlan, section.shadow, model=merged, threshold=merged.threshold)

    def _motion(
        self, steps: Steps, section: Pipeline, model: ModelPlan, source: SourcePlan | None
    ) -> MotionPlan | None:
        if section.motion is not None and (why := why_not(source, model)):
            self.problems.append(self.document.problem((*steps, "motion"), why))
        return motion_plan(section.motion)

    def _check_source(
        self,
        steps: Steps,
        section: Pipeline,
        model: ModelPlan,
        source: SourcePlan | None,
        sources: Sequence[SourcePlan],
    ) -> None:
        """Report a source with a kind of data that the model does not take."""
        takes = model.input.takes
        if source is not None and source.gives != takes:
            right = [shown(other.name) for other in sources if other.gives == takes][:3]
            suggested = (name for name, kind in KINDS.items() if kind.suggested_for == takes)
            kinds = ", ".join(right) if right else f"one of kind {' or '.join(suggested)}"
            text = (
                f"{source.kind} gives {WORDS[source.gives]}, but model {shown(section.model)} takes {WORDS[takes]}; "
                f"name a source of {WORDS[takes]} here, such as {kinds}"
            )
            self.problems.append(self.document.problem((*steps, "source"), text))
        elif source is not None and isinstance(model.input, SignalPlan):
            self._check_values(steps, section, model.input, source)
        if takes != "image" and section.mask:
            text = f"the model takes {WORDS[takes]}, and a mask works on pictures only; remove this key"
            self.problems.append(self.document.problem((*steps, "mask"), text))

    def _check_values(self, steps: Steps, section: Pipeline, wants: SignalPlan, source: SourcePlan) -> None:
        """Report samples with a wrong number of values for the model, if the source's keys or file fix the number."""
        given = _values_of(source) or self._values.get(source.name, 0)
        fits = given >= wants.width if wants.width else given == wants.values
        if given and (wants.width or wants.values) and not fits:
            wanted = f"at least {wants.width}" if wants.width else str(wants.values)
            remedy = "choose them with the source's `columns` or `channels`"
            if "layout" in source.options:
                remedy = "to skip a value, write `x` for each of its bytes in the source's `layout`, such as <2xf"
            text = (
                f"source {shown(section.source)} gives {given} values at a time and model {shown(section.model)} takes "
                f"{wanted}; {remedy}"
            )
            self.problems.append(self.document.problem((*steps, "source"), text))

    def _check_labels(self, steps: Steps, section: Pipeline, model: ModelPlan) -> None:
        for index, label in enumerate(section.labels or ()):
            if label not in model.labels:
                written = shown(self.document.value["pipelines"][steps[1]]["labels"][index])
                text = f"the model has no label {written}; {suggestion(label, model.labels)}"
                self.problems.append(self.document.problem((*steps, "labels", index), text))

    def _check_task(self, steps: Steps, section: Pipeline, model: ModelPlan) -> None:
        """Report keys that have no effect for the model's task."""
        if model.task != "anomaly" and section.threshold is not None and section.threshold > 1:
            text = f"expected a number between 0 and 1, as scores are, not {section.threshold:g}"
            self.problems.append(self.document.problem((*steps, "threshold"), text))
        for place, given, tasks in (
            (("top_k",), "top_k" in section.model_fields_set, ("classification",)),
            (("nms",), "nms" in section.model_fields_set, NMS_TASKS),
            (("preprocess", "tiles"), section.preprocess.tiles, ("detection",)),
        ):
            if given and model.task not in tasks:
                text = f"belongs to models of task {' or '.join(tasks)}; {model.title} is one of task {model.task}"
                self.problems.append(self.document.problem((*steps, *place), text))


def _stated_values(instance: Any) -> int:
    """Return the number of values in a sample of a source; 0 if unknown. The attribute of a plug-in may be anything."""
    found = getattr(instance, "values", 0)
    return found if isinstance(found, int) else 0


def _pause(instance: Any, fps: float | None, rate: JsonValue) -> float:
    """Return the seconds that may pass between two readings without a fault.

    Unlimited ``patience`` counts as 0.
    """
    patience: float = getattr(instance, "patience", 0.0)
    slowest = LATE / fps if fps is not None and instance.gives == "image" else 0.0
    if instance.gives == "samples" and isinstance(rate, (int, float)) and rate > 0:
        slowest = PERIODS / rate
    return max(slowest, patience if math.isfinite(patience) else 0.0)


def _slower(fps: float | None, source: SourcePlan | None) -> float | None:
    """Return the lower of the rate limits of pipeline and source.

    Signals and crops are not limited at the source, so their pipelines apply its limit.
    """
    limits = [fps, source.fps if source is not None and (source.gives != "image" or source.parent) else None]
    return min((limit for limit in limits if limit is not None), default=None)


def _without_user(url: str) -> dict[str, JsonValue]:
    """Return the address without its user name, and that user name."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return {"url": urlunsplit(parts._replace(netloc=host)), **({"username": unquote(user)} if at else {})}


def _values_of(source: SourcePlan) -> int:
    """Return the number of values in a sample of the source if its keys determine it, otherwise 0."""
    for key in ("columns", "channels"):
        said = source.options.get(key)
        if isinstance(said, (list, tuple)) and said:
            return len(said)
        if isinstance(said, int):
            return said
    return 0


def installed_models(prefix: Path = Path(sys.prefix)) -> tuple[str, ...]:
    """Return the folder of the models that are installed with the program, as a path that stays valid after an upgrade.

    ``deploy/install`` makes ``/opt/edge-infer/share`` and ``current`` links; both lead to the running version.
    """
    share = prefix.parent.parent / "share"
    if share.is_symlink() and os.path.realpath(share) == os.path.realpath(prefix / "share"):
        return (str(share / "models"),)
    return ()


def not_in_store(file: str, title: str, bundled: Sequence[str]) -> str:
    """Return the error about a package that the store lacks; ``bundled`` are folders of packages of the program."""
    name, _, version = title.partition("@")
    places = [Path(folder, name, version) for folder in bundled]
    place = next((each for each in places if (each / MANIFEST).exists()), None)
    remedy = (
        "edge-infer models list shows its packages, models add PATH and models pull NAME add more"
        if place is None
        else f"the program has this package, to add it: sudo edge-infer models add {place}"
    )
    return f"there is no {file}: the store has no {title}; {remedy}"
