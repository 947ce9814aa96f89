"""Every question goes through the journal and the budget."""

from __future__ import annotations

from fakes import FakeContext

from treadle.agents.ask import Asker, Question
from treadle.agents.prompt import Prompts
from treadle.models.adapters.scripted import ScriptedModel


async def test_recorded_answer_is_not_asked_for_again() -> None:
    ctx, model = FakeContext(), ScriptedModel(["one"])
    first = Asker(ctx, model, "m")
    assert await first.ask("write", Question("hello")) == "one"
    again = Asker(ctx, model, "m")
    assert await again.ask("write", Question("hello")) == "one"
    assert len(model.requests) == 1
    assert first.tokens == again.tokens == ctx.settled > 0
    assert ctx.kinds == [("model", "write")] * 2
    assert again.models == {"m"}


async def test_the_asker_knows_from_which_prompts_its_questions_were_made() -> None:
    prompt = Prompts.load()["write_skeleton"]
    asker = Asker(FakeContext(), ScriptedModel(["one", "two"]), "m")
    await asker.ask("a", Question("plain"))
    await asker.ask("b", Question(prompt.render(skeleton="x")))
    assert asker.prompts == {prompt.label} and prompt.label == f"write_skeleton@{prompt.digest[:12]}"


async def test_json_is_asked_for_again_with_another_seed_until_usable() -> None:
    ctx, model = FakeContext(), ScriptedModel(["prose", '{"a": 1}'])
    assert await Asker(ctx, model, "m").ask_json("analyse", Question("?", seed=5)) == {"a": 1}
    assert [request.seed for request in model.requests] == [5, 6]
    assert [key for _, key in ctx.kinds] == ["analyse", "analyse.1"]
