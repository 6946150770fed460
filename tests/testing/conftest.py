"""Contracts of methods and tasks that a test makes itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from smc_eval.method import Method
from smc_eval.testing import MethodContract


@pytest.fixture
def contract_of() -> Callable[[Method], MethodContract]:
    """Makes the contract of a method, to call its tests one by one."""

    def make(method_to_test: Method) -> MethodContract:
        class Contract(MethodContract):
            method = method_to_test

        return Contract()

    return make
