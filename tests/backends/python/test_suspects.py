"""Which requests are suspected of a process's death, and for how long."""

import numpy as np

from slipway.backends.python import suspects as module
from slipway.backends.python.suspects import Suspects
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def request(*values, **fields):
    return InferRequest("m", inputs={"X": Tensor.from_array("X", np.array(values, np.float32))}, **fields)


def test_only_a_request_that_was_alone_is_convicted():
    suspects = Suspects()
    assert not suspects
    for _ in range(5):
        suspects.died([request(1), request(2)], alone=False)
    assert (suspects.deaths(request(1)), suspects.deaths(request(2)), suspects.deaths(request(3))) == (1, 1, 0)
    suspects.died([request(2)], alone=True)
    assert suspects.deaths(request(2)) == 2


def test_a_request_is_known_by_its_content_and_not_by_its_id():
    suspects = Suspects()
    suspects.died([request(1, id="a", timeout_us=5)], alone=True)
    assert suspects.deaths(request(1, id="b")) == 1
    assert suspects.deaths(request(1, parameters={"a": 1})) == 0
    assert suspects.deaths(request(1, outputs=("Y",))) == 0
    assert suspects.deaths(request(1, 1)) == 0


def test_who_survives_is_forgotten():
    suspects = Suspects()
    suspects.died([request(1)], alone=True)
    suspects.survived(request(2))
    assert suspects
    suspects.survived(request(1))
    assert not suspects


def test_suspects_are_forgotten_after_a_while():
    clock = Clock()
    suspects = Suspects(clock)
    suspects.died([request(1)], alone=True)
    clock.now = module.KEPT_S
    assert suspects
    clock.now += 1
    assert not suspects
    assert suspects.deaths(request(1)) == 0


def test_the_table_is_bounded_and_keeps_the_newest():
    suspects = Suspects()
    for value in range(3 * module.CAPACITY):
        suspects.died([request(value)], alone=True)
    assert len(suspects._known) == module.CAPACITY
    assert suspects.deaths(request(0)) == 0
    assert suspects.deaths(request(3 * module.CAPACITY - 1)) == 1
