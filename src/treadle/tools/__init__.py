"""Tools: what agents can do. Each is defined by a function, called by `call_tool`, and found by a `ToolRegistry`."""

from treadle.tools.call import call_tool
from treadle.tools.define import FunctionTool, tool
from treadle.tools.files import edit_file, ls_dir, read_file, rm_file, write_file
from treadle.tools.patching import apply_patch, git_diff
from treadle.tools.progress import done, task_list
from treadle.tools.registry import GROUP, Origin, ToolRegistry
from treadle.tools.searching import search
from treadle.tools.shell import bash
from treadle.tools.testing import run_tests_tool

BUILT_IN = (
    read_file,
    write_file,
    edit_file,
    rm_file,
    ls_dir,
    search,
    apply_patch,
    git_diff,
    bash,
    run_tests_tool,
    task_list,
    done,
)
"""The tools that come with Treadle and reach nothing but the workspace."""

__all__ = ["BUILT_IN", "GROUP", "FunctionTool", "Origin", "ToolRegistry", "call_tool", "tool"]
