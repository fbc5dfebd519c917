"""Answers to what an attack asks for while it runs: queries, weights, its stored results."""

from __future__ import annotations

import functools
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from privbench.errors import UndeclaredEvidence
from privbench.population.keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from privbench.aliases import Array
    from privbench.contracts.needs import Needs
    from privbench.population.population import Population

Request: TypeAlias = "tuple[Any, ...]"
"""("query", shadow's position or None, inputs), ("weights",), ("kept", key) or ("keep", key, arrays)."""
ASKED_AT_ONCE = 4
"""Number of models kept in memory for an attack with its own queries."""


class Query(NamedTuple):
    """A query to one release, as sent to the process that loads it."""

    population: bytes
    """Pickled once for all queries, because it is large beside them."""
    model: int
    inputs: Array


def answer(query: Query, _report: object = None) -> Array:
    """Return logits (m, c). Runs in the process that holds the release."""
    from privbench.learn.inference import predict

    population = _population(query.population)
    return predict(_model(query.population, query.model), query.inputs, device=population.device)


@functools.lru_cache(maxsize=2)
def _population(content: bytes) -> Population:
    population: Population = pickle.loads(content)  # noqa: S301 - from the process that started this one
    return population


@functools.lru_cache(maxsize=ASKED_AT_ONCE)
def _model(content: bytes, index: int) -> nn.Module:
    return _population(content).model(index)


class Server:
    """Answers the requests of an attack on one target, as far as its needs declare them.

    owner: identifies the attack in the keys of what it keeps
    ask: sends queries to the process that holds the releases; None: they are loaded here
    """

    def __init__(
        self,
        population: Population,
        target: int,
        needs: Needs,
        shadows: Population,
        *,
        exclude: Sequence[int] = (),
        owner: Mapping[str, Any] | None = None,
        ask: Callable[[Query], Array] | None = None,
    ) -> None:
        self._population, self._target, self._needs, self._shadows = population, target, needs, shadows
        self._exclude, self._owner = exclude, owner
        self._ask = ask
        self._pickled: Callable[[Population], bytes] = functools.lru_cache(maxsize=2)(pickle.dumps)
        self._loaded: Callable[[int | None], nn.Module] = functools.lru_cache(maxsize=ASKED_AT_ONCE)(self._load)

    def __call__(self, request: Request) -> Any:
        """Return the answer to a request. Raises UndeclaredEvidence for one that the needs do not declare."""
        kind, *given = request
        declared = {"query": self._needs.query, "weights": self._needs.model}.get(kind, self._needs.training)
        if not declared:
            raise UndeclaredEvidence(f"This attack asks for {kind!r}, which its Needs do not declare.")
        answers: dict[str, Callable[..., Any]] = {
            "query": self._query,
            "weights": self._weights,
            "kept": self._kept,
            "keep": self._keep,
        }
        return answers[kind](*given)

    def _query(self, shadow: int | None, x: Array) -> Array:
        if self._ask is None:
            from privbench.learn.inference import predict

            return predict(self._loaded(shadow), x, device=self._population.device)
        return self._ask(Query(*self._model_of(shadow, self._pickled), x))

    def _load(self, shadow: int | None) -> nn.Module:
        population, index = self._model_of(shadow, lambda each: each)
        return population.model(index)

    def _model_of(self, shadow: int | None, form: Callable[[Population], Any]) -> tuple[Any, int]:
        if shadow is None:
            return form(self._population), self._target
        return form(self._shadows), self._shadows.shadow_indices(self._target, self._exclude)[shadow]

    def _weights(self) -> dict[str, Array]:
        return self._population.weights(self._target)

    def _kept(self, key: Mapping[str, Any]) -> dict[str, Array] | None:
        return Keeper.of(self._population).stored(self._own(key))

    def _keep(self, key: Mapping[str, Any], arrays: dict[str, Array]) -> None:
        Keeper.of(self._population).store(self._own(key), arrays, 0.0)

    def _own(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """Return a key in which nothing is another's: the attack's, and with a salt this target's alone.

        Without a salt the models that an attack trains are the same for all targets. With one, data stored about a
        shadow would reveal it as a target.
        """
        salt = self._population.manifest(self._target)["salt"] if self._population.salt else None
        of_target = {} if salt is None else {"target": self._target, "salt": salt}
        return {**key, "attack": self._owner or {}, **of_target}
