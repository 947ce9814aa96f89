"""What a commit of Treadle says: one subject line, a body, and trailers that lead back to the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from treadle.workspace.git import Git, Identity

MAX_SUBJECT = 72


@dataclass(frozen=True, slots=True)
class CommitNote:
    """What is said about a result. `trailers` come after `Treadle-Run`, in their order."""

    run_id: str
    subject: str
    body: str = ""
    trailers: Mapping[str, str] = field(default_factory=dict)
    when: int = 0
    """Seconds since 1970, UTC. 0: the time of the hand-over."""

    def message(self) -> str:
        """Render the message. Trailer values are put on one line each, so that no text can forge a trailer."""
        subject = _one_line(self.subject)
        if len(subject) > MAX_SUBJECT:
            subject = subject[: MAX_SUBJECT - 1].rstrip() + "…"
        body = "\n".join(" " + line if _looks_like_trailer(line) else line for line in self.body.strip().splitlines())
        trailers = {"Treadle-Run": self.run_id, **self.trailers}
        ending = "\n".join(f"{key}: {_one_line(value)}" for key, value in trailers.items())
        return "\n\n".join(part for part in (subject, body, ending) if part) + "\n"


def provenance_trailers(
    *,
    task: str,
    models: Sequence[str] = (),
    prompts: str = "",
    tokens: int | None = None,
    cost: float | None = None,
    review: str = "",
) -> dict[str, str]:
    """Say where a task's result comes from: what `treadle blame` reads. What is not known is left out."""
    said = {
        "Treadle-Task": task,
        "Treadle-Model": ", ".join(models),
        "Treadle-Prompts": prompts,
        "Treadle-Tokens": "" if tokens is None else str(tokens),
        "Treadle-Cost": "" if cost is None else f"{cost:.6f}",
        "Treadle-Review": review,
    }
    return {key: value for key, value in said.items() if value}


async def make_commit(
    git: Git, tree: str, message: str, identity: Identity, *, parents: Sequence[str] = (), when: int | None = None
) -> str:
    """Write a commit object and return its name; no ref is changed. `when` makes it the same each time."""
    env = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _fields(identity)}
    if when is not None:
        env |= {f"GIT_{role}_DATE": f"@{when} +0000" for role in ("AUTHOR", "COMMITTER")}
    of = [word for parent in parents for word in ("-p", parent)]
    return await git.text("commit-tree", tree, *of, "-F", "-", stdin=message.encode(errors="replace"), env=env)


async def is_of_run(git: Git, commit: str, run_id: str, tree: str) -> bool:
    """Tell whether a commit is what an earlier attempt of the same run made of the same tree."""
    code, out, _ = await git.attempt("log", "-1", "--format=%T%n%(trailers:key=Treadle-Run,valueonly)", commit)
    return code == 0 and out.decode(errors="replace").split() == [tree, run_id]


def _fields(identity: Identity) -> tuple[tuple[str, str], ...]:
    return (("NAME", identity.name), ("EMAIL", identity.email))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _looks_like_trailer(line: str) -> bool:
    return line.lower().startswith("treadle-")
