"""The planner that asks a language model for structured output, through the client of OpenAI's API.

Many models are behind that API, also on one's own machine: OPENAI_BASE_URL says where, OPENAI_API_KEY lets one in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import InvalidArgument, Unsupported
from coordstore_orchestrator.plan.planning import PlannerFailed
from coordstore_orchestrator.plan.schema import plan_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ModelPlanner", "make"]

SECONDS: Final = 300.0
"""How long a model may think about one plan."""


class ModelPlanner:
    """Asks a model; what fails on the way is asked again by the client, twice.

    Args:
        model: Its name, as the API knows it.
        options: For the client: ``base_url``, ``api_key`` … instead of the environment's.
    """

    def __init__(self, model: str, **options: Any) -> None:  # noqa: ANN401  (the client's)
        self._model = model
        self._options = {"timeout": SECONDS, **options}

    async def propose(self, prompt: str) -> str:
        """Return what the model answers."""
        from openai import AsyncOpenAI, OpenAIError

        schema: Any = {"name": "plan", "schema": plan_schema(), "strict": False}
        try:
            async with AsyncOpenAI(**self._options) as client:
                answer = await client.chat.completions.create(
                    model=self._model,
                    messages=[{"role": "user", "content": prompt}],
                    response_format={"type": "json_schema", "json_schema": schema},
                )
        except OpenAIError as error:
            message = f"model {self._model} gave no plan: {error}"
            raise PlannerFailed(message) from error
        return (answer.choices[0].message.content if answer.choices else None) or ""


def make(arguments: Sequence[str]) -> ModelPlanner:
    """Return the planner for a model's name."""
    if len(arguments) != 1:
        message = "the planner llm takes a model's name: coord plan make GOAL --planner llm MODEL"
        raise InvalidArgument(message)
    try:
        import openai  # noqa: F401  (is it there?)
    except ImportError as error:
        message = "the planner llm needs the extra llm: pip install 'coordstore[llm]'"
        raise Unsupported(message) from error
    return ModelPlanner(arguments[0])
