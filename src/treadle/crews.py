"""Crews of builds, put together from real adapters. With `app`, the only place that names concrete ones."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.engine.lease import is_dead
from treadle.errors import ConfigError
from treadle.removal import remove_tree
from treadle.settings import Settings

if TYPE_CHECKING:
    from treadle.agents.estimator import TierChoice
    from treadle.domain.inventory import ModelEntry, Service
    from treadle.models.wrappers import Guard
    from treadle.ports.model import Model
    from treadle.ports.sandbox import Sandbox
    from treadle.ports.store import Store
    from treadle.services.builds import BuildPlan
    from treadle.services.pool import Address, Served
    from treadle.services.tiers import PlannedTier
    from treadle.workflows.crew import Crew, CrewTier
    from treadle.workflows.decompose import Planner
    from treadle.workspace import Publisher, Snapshots, Workspace


class Crews:
    """Puts crews of builds together from real adapters: `services.builds.CrewMaker`.

    A build of this project works in its `.treadle`, as its plan says. One of another machine is a guest: it works in a
    folder of this process alone, in the sandbox that is configured here, and its result is not handed over here.
    """

    def __init__(self, settings: Settings, store: Store, worker: str, *, shared: bool) -> None:
        """`worker`: the name of this process. `shared`: other machines reach the store, and files travel through it."""
        self._settings = settings
        self._store = store
        self._worker = worker
        self.shared = shared
        self.script = ""
        """Of a scripted model that answers for builds of other machines."""
        self.on_note: Callable[[str], None] = lambda note: None
        """Is told what a model is waited for."""
        self._guards: dict[str, Guard] = {}
        """Of services, by name: limits hold for all builds of this process together."""
        self._pool: Served | None = None

    async def make(self, plan: BuildPlan, run_id: str) -> Crew:
        from treadle.sandboxes.choose import limits_of
        from treadle.services.pool import served
        from treadle.services.prompts import load_prompts
        from treadle.workflows.crew import BuildSettings, Crew
        from treadle.workspace import HandedOverElsewhere, Workspace

        self._pool = await served(self._settings)
        home, is_guest = prepare_home(self._settings), not self.is_home_of(plan)
        folder = self._guests() / run_id if is_guest else home
        folder.mkdir(parents=True, exist_ok=True)
        workspace = await Workspace.open(folder, run_id, self.snapshots(folder, run_id))
        backend = self._settings.sandbox.backend if is_guest else plan.sandbox
        hosts = self._settings.sandbox.allow_hosts if is_guest else plan.allow_hosts
        script = self.script if is_guest else plan.script
        tiers = tuple(self._tier(plan, tier, script) for tier in plan.all_tiers)
        return Crew(
            tiers=tiers,
            sandbox=await self.open_sandbox(workspace.folder, backend, hosts),
            workspace=workspace,
            publisher=HandedOverElsewhere(plan.host) if is_guest else _publisher(plan, workspace, run_id),
            prompts=load_prompts(self._settings),
            settings=BuildSettings(
                max_rounds=plan.max_rounds, review=plan.review, limits=limits_of(self._settings.sandbox)
            ),
            open_sandbox=lambda room: self.open_sandbox(room, backend, hosts),
            choice=await self._choice(tiers),
        )

    async def planner(self, build: BuildPlan, files: Sequence[str]) -> Planner:
        """Who plans for a build: the model of its first tier."""
        from treadle.services.pool import served
        from treadle.services.prompts import load_prompts
        from treadle.workflows.decompose import Planner

        self._pool = await served(self._settings)
        tiers = [self._tier(build, tier, build.script) for tier in build.all_tiers]
        return Planner(tiers[0], load_prompts(self._settings), await self._choice(tiers), tuple(files))

    async def _choice(self, tiers: Sequence[CrewTier]) -> TierChoice:
        """What decides where tasks begin: the tiers that there are, the routing, prices, and what past builds took."""
        from treadle.agents.estimator import TierChoice
        from treadle.domain.inventory import Routing
        from treadle.models.inventory.read import load_inventory
        from treadle.services.experience import experience_of

        written = load_inventory(self._settings)
        return TierChoice(
            tiers=tuple(tier.name for tier in tiers if tier.name),
            routing=written.routing if written is not None else Routing(),
            pricing={tier.name: tier.pricing for tier in tiers},
            experience=await experience_of(self._store),
        )

    async def close(self, crew: Crew) -> None:
        await crew.rooms.close()
        await crew.sandbox.close()
        for tier in crew.tiers:
            await tier.model.close()
        place = self._guests() / crew.workspace.run_id
        if crew.workspace.folder.is_relative_to(place):
            await asyncio.to_thread(remove_tree, str(place))
            with suppress(OSError):
                place.parent.rmdir()

    def home(self) -> str:
        return home_id(self._settings) if self.shared else ""

    def is_home_of(self, plan: BuildPlan) -> bool:
        """Whether a build belongs to this project. One from a store of one machine belongs to whoever imports it."""
        return not self.shared or plan.home in ("", self.home())

    def snapshots(self, home: Path, run_id: str) -> Snapshots:
        """The snapshots of a run in a `.treadle` folder."""
        from treadle.workspace import SNAPSHOTS, SharedSnapshots, Snapshots

        place = home / SNAPSHOTS
        return SharedSnapshots(place, self._store, run_id) if self.shared else Snapshots(place)

    def _guests(self) -> Path:
        """Where this process keeps builds of other machines. What killed processes left there is removed."""
        folder = self._settings.project / ".treadle" / "guests"
        for left in folder.iterdir() if folder.is_dir() else ():
            if is_dead(left.name):
                remove_tree(str(left))
        return folder / self._worker

    async def open_sandbox(self, folder: Path, backend: str, hosts: Sequence[str]) -> Sandbox:
        """A sandbox over a folder, with the configured limits. `hosts`: whom commands in it may reach."""
        from treadle.sandboxes.choose import egress_to, limits_of, open_sandbox

        settings = self._settings.sandbox
        return await open_sandbox(
            folder, backend=backend, limits=limits_of(settings), egress=egress_to(hosts), image=settings.image
        )

    def _tier(self, plan: BuildPlan, tier: PlannedTier, script: str) -> CrewTier:
        """Who answers in one tier of a build."""
        from treadle.models.adapters.script_file import ScriptFile
        from treadle.workflows.crew import CrewTier

        queue = plan.queue_of_tier(tier)
        if plan.provider == "scripted":
            return CrewTier(ScriptFile(Path(script)), plan.model, queue=queue)
        return self._answering(tier, queue)

    async def answering(self, tier: PlannedTier) -> CrewTier:
        """Who answers in one tier outside builds."""
        from treadle.services.pool import served

        self._pool = await served(self._settings)
        return self._answering(tier)

    def _answering(self, tier: PlannedTier, queue: str = "") -> CrewTier:
        """The place where models, their wrappers and the pool come together."""
        from treadle.models.choose import recorded
        from treadle.models.prices import dearest, pricing_of
        from treadle.models.wrappers import tier_model
        from treadle.workflows.crew import CrewTier

        found = [recorded(self._settings, planned.provider, planned.model) for planned in tier.models]
        answers = self._settings.model.answers_dir
        model = tier_model(
            tier.name,
            [(entry, service) for service, entry in found],
            self._wrapped,
            answers=None if answers == Path() else answers,
            may_begin_anew=True,
        )
        pricing = dearest([pricing_of(entry, service) for service, entry in found])
        sees = "vision" in found[0][1].abilities
        return CrewTier(model, tier.models[0].model, tier.name, pricing, queue, sees)

    def _wrapped(self, entry: ModelEntry, service: Service) -> Model:
        from treadle.models.wrappers import Guard, OpenedLater, wrapped

        if service.name not in self._guards:
            self._guards[service.name] = Guard.of(service)
        adapter = OpenedLater(service.kind, lambda: self._adapter(service, entry))
        return wrapped(adapter, self._guards[service.name], may_begin_anew=True)

    def _adapter(self, service: Service, entry: ModelEntry) -> Model:
        from treadle.models.adapters import adapter_of
        from treadle.models.drivers import KINDS
        from treadle.models.inventory.keys import key_of

        if self._pool is not None and service.kind in KINDS and entry.name in self._pool.names:
            return self._through_pool(self._pool.address, entry)

        settings = dataclasses.replace(self._settings.model, context=entry.context)
        if service.kind == "llama_cpp":
            from treadle.models.adapters.embedded import EmbeddedModel

            return EmbeddedModel(settings, on_note=lambda note: self.on_note(note))
        return adapter_of(service, [entry], key_of(service, self._settings), settings)

    def _through_pool(self, address: Address, entry: ModelEntry) -> Model:
        """Whoever serves a pool on this machine has it decide what is loaded: a second view would undo its work."""
        from treadle.models.adapters.openai_chat import OpenAIChat
        from treadle.models.wrappers.named import Named

        patience = self._settings.model
        chat = OpenAIChat(
            f"{address.url}/v1",
            api_key=address.key,
            provider="pool",
            first_token_seconds=patience.first_token_seconds,
            stall_seconds=patience.stall_seconds,
        )
        return Named(chat, dataclasses.replace(entry, served_as=entry.name))


def _publisher(plan: BuildPlan, workspace: Workspace, run_id: str) -> Publisher:
    from treadle.workspace import NewRepository, Repository, RepositoryBranch

    if plan.repository is None:
        return NewRepository(Path(plan.out), workspace.snapshots, may_move=plan.may_move)
    at = plan.repository
    repository = Repository(Path(at.folder), at.commit, at.tree, at.branch, at.uncommitted)
    return RepositoryBranch(repository, workspace.snapshots, run_id)


def prepare_home(settings: Settings) -> Path:
    """Make the project's `.treadle` and keep it out of git; the user's own ignore file is left alone. Idempotent."""
    home = settings.project / ".treadle"
    try:
        home.mkdir(exist_ok=True)
        ignore = home / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise ConfigError(
            f"{home} cannot be made ({error.strerror}), so no run can be kept; nothing was started.",
            hint="Run it in a folder that you can write.",
        ) from error
    return home


def home_id(settings: Settings) -> str:
    """The id of this project's `.treadle`: made once, and moved with it."""
    place = prepare_home(settings) / "id"
    made = place.with_name(f"id-{secrets.token_hex(8)}")
    if not place.exists():
        made.write_text(secrets.token_hex(8))
        with suppress(FileExistsError):  # another process was quicker, and its id counts
            place.hardlink_to(made)
        made.unlink()
    return place.read_text().strip()
