"""privbench's own code, with an edit."""

import ast
import dataclasses

import pytest

from privbench.store.definitions import Definitions
from privbench.store.fingerprint import core, file_of


class Edited(Definitions):
    """The definitions of privbench, of which one has a statement more; the others are read once for all edits."""

    def __init__(self, reference):
        super().__init__("privbench", file_of)
        module = core().module(reference.module)
        longer = [*module.defined[reference.name], *ast.parse("print('edited')").body]
        self.reference = reference
        self.edited = dataclasses.replace(module, defined={**module.defined, reference.name: longer})

    def module(self, name):
        return self.edited if name == self.edited.name else core().module(name)

    def written(self, each):
        return super().written(each) if each == self.reference else core().written(each)


@pytest.fixture
def edited():
    return Edited
