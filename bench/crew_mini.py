"""Run mini-swe-agent on one task, within its own virtual environment: its loop and prompts, our door and sandbox."""

import json
import os
import subprocess
from pathlib import Path

import minisweagent
import yaml
from minisweagent.agents.default import DefaultAgent
from minisweagent.environments.local import LocalEnvironment
from minisweagent.models.litellm_textbased_model import LitellmTextbasedModel


class Sandboxed(LocalEnvironment):
    """Its local environment, with each command in a sandbox without network."""

    def execute(self, action, cwd="", *, timeout=None):
        """Run one command in the folder of the task."""
        told = json.loads(os.environ["MINI_TASK"])
        command = [told["python"], "-m", "bench.in_sandbox", action.get("command", "")]
        env = {**os.environ, "PYTHONPATH": told["python_path"]}
        done = subprocess.run(command, cwd=told["folder"], env=env, capture_output=True, text=True, errors="replace")
        output = {"output": done.stdout + done.stderr, "returncode": done.returncode, "exception_info": ""}
        self._check_finished(output)
        return output


def main():
    """Work on the task of MINI_TASK."""
    told = json.loads(os.environ["MINI_TASK"])
    place = Path(minisweagent.__file__).parent / "config" / "mini_textbased.yaml"
    config = yaml.safe_load(place.read_text())
    asked = {"api_base": told["url"], "api_key": "no", "temperature": 0.0, "drop_params": True}
    model = LitellmTextbasedModel(
        model_name="openai/local", cost_tracking="ignore_errors", **{**config["model"], "model_kwargs": asked}
    )
    environment = Sandboxed(cwd=told["folder"], **config.get("environment", {}))
    rules = {**config["agent"], "step_limit": told["steps"], "cost_limit": 0}
    rules.pop("mode", None)
    print(DefaultAgent(model, environment, **rules).run(told["task"]))


main()
