"""What the user has configured, as frozen values. The only package that reads `os.environ`.

Precedence: flag > environment (`TREADLE_*`) > `.env` of the project > the project's `treadle.toml` >
the user's `treadle.toml` > what is shipped. What a setting does belongs to the module that uses it, not here.
"""

from treadle.settings.mcp import McpServer, read_server
from treadle.settings.reading import (
    check_settings_file,
    child_environment,
    find_project,
    is_debugging,
    load_settings,
    read_settings,
    settings_files,
    wants_no_color,
)
from treadle.settings.values import (
    Backend,
    BuildSettings,
    InventorySettings,
    McpSettings,
    ModelSettings,
    PromptSettings,
    Provider,
    Review,
    SandboxSettings,
    Settings,
    StoreSettings,
    TierChoice,
    ToolSettings,
    Variables,
    without_password,
)

__all__ = [
    "Backend",
    "BuildSettings",
    "InventorySettings",
    "McpServer",
    "McpSettings",
    "ModelSettings",
    "PromptSettings",
    "Provider",
    "Review",
    "SandboxSettings",
    "Settings",
    "StoreSettings",
    "TierChoice",
    "ToolSettings",
    "Variables",
    "check_settings_file",
    "child_environment",
    "find_project",
    "is_debugging",
    "load_settings",
    "read_server",
    "read_settings",
    "settings_files",
    "wants_no_color",
    "without_password",
]
