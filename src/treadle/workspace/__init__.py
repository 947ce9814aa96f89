"""Workspaces: git trees, branches and snapshots of what agents wrote."""

from treadle.domain.paths import clean_path
from treadle.workspace.baseline import TreeBaseline
from treadle.workspace.blame import BlamedLine, Origin, blame_lines, changed_paths, read_origin, read_origins
from treadle.workspace.commit import CommitNote, provenance_trailers
from treadle.workspace.folder import SNAPSHOTS, Workspace, collect_garbage, remove_leavings
from treadle.workspace.git import git_program
from treadle.workspace.history import History, Recorded
from treadle.workspace.merge import FileConflict, Merge, merge, replaced
from treadle.workspace.publish import (
    HandedOverElsewhere,
    NewRepository,
    Published,
    Publisher,
    RepositoryBranch,
    numbered,
    refuse_unusable_out,
)
from treadle.workspace.repository import Repository, open_repository
from treadle.workspace.shared import SharedSnapshots
from treadle.workspace.snapshots import Snapshots

__all__ = [
    "SNAPSHOTS",
    "BlamedLine",
    "CommitNote",
    "FileConflict",
    "HandedOverElsewhere",
    "History",
    "Merge",
    "NewRepository",
    "Origin",
    "Published",
    "Publisher",
    "Recorded",
    "Repository",
    "RepositoryBranch",
    "SharedSnapshots",
    "Snapshots",
    "TreeBaseline",
    "Workspace",
    "blame_lines",
    "changed_paths",
    "clean_path",
    "collect_garbage",
    "git_program",
    "merge",
    "numbered",
    "open_repository",
    "provenance_trailers",
    "read_origin",
    "read_origins",
    "refuse_unusable_out",
    "remove_leavings",
    "replaced",
]
