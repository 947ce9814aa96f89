"""What a commit of Treadle says: one subject line, a body, and trailers that lead back to the run."""

from __future__ import annotations

from collections.abc import Mapping
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

    def message(self) -> str:
        """Render the message. Trailer values are put on one line each, so that no text can forge a trailer."""
        subject = _one_line(self.subject)
        if len(subject) > MAX_SUBJECT:
            subject = subject[: MAX_SUBJECT - 1].rstrip() + "…"
        body = "\n".join(" " + line if _looks_like_trailer(line) else line for line in self.body.strip().splitlines())
        trailers = {"Treadle-Run": self.run_id, **self.trailers}
        ending = "\n".join(f"{key}: {_one_line(value)}" for key, value in trailers.items())
        return "\n\n".join(part for part in (subject, body, ending) if part) + "\n"


async def make_commit(git: Git, tree: str, note: CommitNote, identity: Identity, *, parent: str | None = None) -> str:
    """Write a commit object and return its name. No ref is changed."""
    env = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _fields(identity)}
    parents = ["-p", parent] if parent else []
    return await git.text("commit-tree", tree, *parents, "-F", "-", stdin=note.message().encode(), env=env)


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
