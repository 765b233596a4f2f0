"""Compiles a configuration file into a plan: schema, references, named files, and a trial of every model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_infer import __version__
from edge_infer.config.compile.build import Builder, installed_models, not_in_store
from edge_infer.config.compile.checks import entry_of, idle, in_vain, too_large, unfit
from edge_infer.config.compile.hardware import Equipper
from edge_infer.config.compile.model_policy import read_policy
from edge_infer.config.compile.named_files import NamedFiles
from edge_infer.config.parts import SECTIONS as NAMED_SECTIONS
from edge_infer.config.parts import read_config
from edge_infer.config.schema.file import Config, dangling
from edge_infer.config.schema.governor import governor_plan, unseen
from edge_infer.config.schema.keys import planned
from edge_infer.contract.codec import replace
from edge_infer.errors import ConfigError, ModelError, StartError
from edge_infer.models.packages.blob_store import BLOBS
from edge_infer.models.request import ModelRequest, Policy, TrustedKey
from edge_infer.models.serving_record import ServingRecord, read_record
from edge_infer.models.trials.known_results import MAX_TRIED_MODELS, Tried, read_tried, write_tried
from edge_infer.models.trials.probe import Probe, probe_all
from edge_infer.plan.records import (
    Compiled,
    ModelPlan,
    MqttPlan,
    OutboxPlan,
    PipelinePlan,
    Plan,
    Problem,
    SourcePlan,
    Unfit,
)
from edge_infer.platform.config_files import look_at
from edge_infer.platform.environment import with_taken
from edge_infer.platform.state_owner import foreign_entry
from edge_infer.yamlfile.load import Document, Steps, in_order, spell, validate

MAX_LACKING = 256
UNOPENED = ("sources", "mqtt")
"""Sections with files and programs that a replay of another recording does not open."""
MOST_LIVE = 64
"""Maximum number of sources with a reader process. The supervisor keeps some files open for each, and can wait for 1024
files in total."""


def compile_config(
    path: Path,
    *,
    store: bool | Path = False,
    running: Path | None = None,
    environment: Mapping[str, str] | None = None,
    probe: Probe | None = None,
    draft: tuple[Path, bytes] | None = None,
    replayed: bool = False,
) -> Compiled:
    """Return the plan of a configuration file, or all of its problems.

    With ``store`` the models are copied to ``<state_dir>/blobs`` under their digests, and the plan names the copies.
    Without it nothing is written anywhere. If ``store`` is a path, it is the only writable state directory: a file that
    names another state directory gives no plan (`Compiled.elsewhere`). The same applies to ``running``, the state
    directory of the daemon for which the file is checked. ``probe`` tries the models; its process may have started
    already. ``draft`` is the path and the new text of one file of the configuration; the text replaces the file on the
    disk. With ``replayed`` the files and programs of `UNOPENED` need not exist.
    """
    with probe or Probe() as child:
        before = look_at(path)
        document = read_config(path, with_taken() if environment is None else environment, draft)
        seen = before if look_at(path) == before else ()
        only = store if isinstance(store, Path) else running
        return replace(_compile(document, child, store=bool(store), only=only, replayed=replayed), seen=seen)


def _compile(document: Document, probe: Probe, *, store: bool, only: Path | None, replayed: bool) -> Compiled:
    config, found = validate(document, Config)
    if document.value is None:
        return Compiled(document.digest, None, found)
    known = {problem.path for problem in found}
    problems = [*found, *(problem for problem in _dangling(document) if problem.path not in known)]
    sound = config or sound_part(document, problems)
    if sound is None:
        return Compiled(document.digest, None, in_order(problems))
    files = NamedFiles(document)
    builder = Builder(document, files)
    compilation = _Compilation(document, builder, problems, probe)
    plan = compilation.plan(sound, store=store, only=only)
    if compilation.elsewhere:
        return Compiled(document.digest, None, elsewhere=compilation.elsewhere)
    missing = [each for each in files.problems if not (replayed and each.path.partition(".")[0] in UNOPENED)]
    large = too_large(document, plan) if plan is not None else ()
    everything = in_order([*problems, *missing, *large])
    odd = idle(document, sound, plan) if plan is not None else ()
    spelled, warnings = builder.spelled, in_order([*files.warnings, *odd])
    return Compiled(
        document.digest,
        None if everything else plan,
        tuple(map(spelled.problem, everything)),
        tuple(map(spelled.problem, warnings)),
        tuple(map(spelled.unfit, compilation.unfit)),
        machine=compilation.machine,
        lacking=tuple(dict.fromkeys(files.lacking))[:MAX_LACKING],
        signers=compilation.signers(),
    )


def _dangling(document: Document) -> list[Problem]:
    return [document.problem(steps, text) for steps, text in dangling(document.value)]


def sound_part(document: Document, problems: Sequence[Problem]) -> Config | None:
    """Return the configuration without its faulty entries, so that its other entries are checked as well."""
    paths = [problem.path for problem in problems]
    value: dict[str, Any] = {}
    for section, body in document.value.items():
        if section not in Config.model_fields:
            continue
        if section in NAMED_SECTIONS and isinstance(body, dict) and section not in paths:
            value[section] = {name: item for name, item in body.items() if not _touched(paths, (section, name))}
        elif not _touched(paths, (section,)):
            value[section] = body
    clean = Document(document.file, document.digest, document.root, value)
    return validate(clean, Config)[0]


def _used(config: Config) -> set[str]:
    """Return the names of the models that pipelines use, as their model or as a shadow."""
    pipelines = config.pipelines.values()
    return {each.model for each in pipelines} | {each.shadow.model for each in pipelines if each.shadow is not None}


def _is_missing(path: str) -> bool:
    """Return whether a path does not exist. Return False if this user may not look into its folder."""
    try:
        Path(path).stat()
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _touched(paths: Sequence[str], steps: Steps) -> bool:
    """Return whether one of the paths is the position ``steps`` or lies below it."""
    place = spell(steps)
    return any(path == place or path.startswith((f"{place}.", f"{place}[")) for path in paths)


class _Compilation:
    """One compilation of the valid part of a configuration; it adds to ``problems``."""

    def __init__(self, document: Document, builder: Builder, problems: list[Problem], probe: Probe) -> None:
        self._document = document
        self._build = builder
        self._problems = problems
        self._probe = probe
        self._requests: dict[str, ModelRequest] = {}
        self._keys: tuple[TrustedKey, ...] | None = None
        self.unfit: list[Unfit] = []
        self.machine = False
        self.elsewhere = ""

    def plan(self, config: Config, *, store: bool, only: Path | None) -> Plan | None:
        """Return the whole plan; None if a part could not be built, or if the state directory is not ``only``."""
        faulty = bool(self._problems)
        device, state_dir = self._build.device(config), self._build.state_dir(config)
        mqtt = self._build.mqtt(config.mqtt, device)
        sources = [self._build.source(name, section) for name, section in config.sources.items()]
        sources += self._build.cascades.inline(config)
        self._build.files.check_inputs()
        keep = Path(state_dir, BLOBS) if store and not faulty else None
        if not faulty and only is not None and only != Path(state_dir):
            self.elsewhere = state_dir
            return None
        if not store and (foreign := foreign_entry(state_dir)) is not None:  # the daemon logs this at its start
            self._build.files.warnings.append(self._document.problem(("device", "state_dir"), str(foreign)))
        models = self._models(config, state_dir, keep, again=store)
        usable = self._build.cascades.as_their_roots([each for each in sources if each is not None], config)
        if (live := sum(each.live for each in usable)) > MOST_LIVE:
            text = f"{live} of them need a process each (cameras, streams, devices), which is too many for one device"
            self._problems.append(self._document.problem(("sources",), f"{text}; at most {MOST_LIVE}"))
        pipelines = self._pipelines(config, models, usable)
        self._build.files.warnings += [self._document.problem(*each) for each in unseen(config.governor)]
        self._problems += self._build.problems
        warnings = self._build.files.warnings
        equipper = Equipper(self._document, self._problems, warnings, Path(state_dir), keeps=keep is not None)
        equipper.check(config)
        if self._problems:
            return None
        self._probe.close()  # the next step starts its own child, and a small board lacks memory for both
        equipped = equipper.equipped(config, pipelines, self._requests)
        if self._problems:
            return None
        return Plan(
            self._document.digest,
            device,
            state_dir,
            mqtt,
            tuple(usable),
            equipped,
            discovery=config.mqtt.discovery,
            outbox=planned(OutboxPlan, config.outbox),
            merged=config.rooms == "merged",
            governor=governor_plan(config.governor, config.pipelines),
            made_by=__version__,
            metrics=self._build.metrics(config.metrics),
            signers=self.signers(),
            private=self._build.files.guarded,
        )

    def signers(self) -> tuple[str, ...] | None:
        """Return the trusted keys, as in `Compiled`."""
        return None if self._keys is None else tuple(key.hex for key in self._keys)

    def _models(self, config: Config, state_dir: str, keep: Path | None, *, again: bool) -> dict[str, ModelPlan]:
        """Return the usable models by name.

        With ``again``, stored trials count: a model is not tried again while its last trial is valid.
        """
        policy, used = self._policy(config, state_dir), _used(config)
        lenient = replace(policy, highest={})  # a model that no pipeline uses is not a downgrade
        requests = [
            self._build.request(name, model, state_dir, policy if name in used else lenient)
            for name, model in config.models.items()
            if model.use is None or not _touched([problem.path for problem in self._problems], ("device",))
        ]
        entries = {name: entry_of(model) for name, model in config.models.items()}
        self._requests = {each.name: each for each in requests}
        record = read_record(Path(state_dir)) if keep else ServingRecord()
        tried = read_tried(Path(state_dir)) if again else Tried()
        self._probe.knows(tried.plans)
        vain = {each.name: in_vain(each, entries[each.name], record) for each in requests}
        fresh = [request for request in requests if vain[request.name] is None]
        found: dict[str, ModelPlan] = {}
        try:
            outcomes = probe_all(fresh, self._probe, keep, used)
        except StartError as failure:
            self._outside(("models",), str(failure))
            self.machine = True
            return {}
        for request, outcome in zip(fresh, outcomes, strict=True):
            if isinstance(outcome, ModelError):
                self.unfit.append(unfit(request, entries[request.name], outcome))
                self._refused(request, config, outcome)
            else:
                found[request.name] = outcome
        if keep is not None:
            self._remember(state_dir, tried, Tried(tuple(found.values())[:MAX_TRIED_MODELS]))
        for request in requests:
            if (error := vain[request.name]) is not None:
                self.unfit.append(unfit(request, entries[request.name], error))
                self._refused(request, config, error)
        return {name: self._with_entry(plan, config) for name, plan in found.items()}

    def _remember(self, state_dir: str, before: Tried, now: Tried) -> None:
        """Store the results of the trials for the next time.

        They are written only if they changed, to reduce wear of the card.
        """
        answers = [[(plan.question, plan) for plan in tried.plans] for tried in (before, now)]
        if answers[0] != answers[1]:
            try:
                write_tried(Path(state_dir), now)
            except StartError as error:
                text = f"the results of the model trials cannot be stored; the next start repeats them: {error}"
                self._build.files.warnings.append(self._document.problem(("models",), text))

    def _with_entry(self, plan: ModelPlan, config: Config) -> ModelPlan:
        """Return the plan with the digest of the model's configuration entry and the origin of its bytes."""
        section = config.models[plan.name]
        origin = f"package {section.use}" if section.use else f"file {section.file}"
        return replace(plan, entry=entry_of(section), origin=origin[:500])

    def _policy(self, config: Config, state_dir: str) -> Policy:
        reading = read_policy(config.security, self._document, state_dir)
        self._problems += reading.problems
        self._build.files.warnings += reading.warnings
        self._keys = reading.keys
        return reading.policy

    def _refused(self, request: ModelRequest, config: Config, error: ModelError) -> None:
        """Report a refused model. If its manifest has several problems, each becomes a problem of its own."""
        name, section = request.name, config.models[request.name]
        key = "use" if error.key == "file" and section.use else error.key
        steps: Steps = ("models", name, key) if key in section.model_fields_set else ("models", name)
        manifest = str(Path(request.file).with_suffix(".yaml"))
        self._build.files.lacking += filter(None, (request.file, manifest, request.labels_file))
        text = str(error)
        if section.use and _is_missing(request.file):
            text = not_in_store(request.file, section.use, installed_models())
        for line in text.splitlines():
            self._outside(steps, line, foreign=error.foreign)

    def _outside(self, steps: Steps, text: str, *, foreign: bool = False) -> None:
        place = self._document.problem(steps, text)
        self._problems.append(Problem(place.file, place.line, place.path, text[:4000], outside=True, foreign=foreign))

    def _pipelines(
        self, config: Config, models: Mapping[str, ModelPlan], sources: Sequence[SourcePlan]
    ) -> list[PipelinePlan]:
        cascades = self._build.cascades.plans(config, models)
        return [
            self._build.pipeline(name, section, models, sources, cascades.get(name), drift=config.drift)
            for name, section in config.pipelines.items()
            if section.model in models
        ]


# The broker and the state directory, read from a configuration that may have errors in other sections.

SECTIONS: Final = ("device", "mqtt")


@dataclass(frozen=True, slots=True)
class Connection:
    """The part of the configuration that tools other than the daemon need."""

    mqtt: MqttPlan
    state_dir: Path


def connection(path: Path) -> Connection:
    """Return the connection of a file.

    Raises `ConfigError` if the file is unreadable, or if ``device`` or ``mqtt`` is invalid.
    """
    document = read_config(path, with_taken())
    config, problems = validate(document, Config)
    if document.value is not None:
        config = config or sound_part(document, problems)
    wrong = [problem for problem in problems if config is None or problem.path.partition(".")[0] in SECTIONS]
    if config is None or wrong:
        raise ConfigError("\n".join(map(str, wrong)))
    return _connection(document, config)


def usual_connection() -> Connection:
    """Return the connection that an empty configuration has."""
    return _connection(Document("", "", None, None), Config())


def _connection(document: Document, config: Config) -> Connection:
    build = Builder(document, NamedFiles(document))
    return Connection(build.mqtt(config.mqtt, build.device(config)), Path(build.state_dir(config)))
