from hypothesis import given
from hypothesis import strategies as st

from slipway.scheduling.ordered import ReorderBuffer


def test_a_late_answer_holds_back_the_ones_behind_it():
    buffer = ReorderBuffer()
    for place in "abc":
        buffer.admit(place)
    assert buffer.answer("c", 3, final=True) == []
    assert buffer.answer("a", 1, final=True) == [("a", 1)]
    assert buffer.answer("b", 2, final=True) == [("b", 2), ("c", 3)]
    assert len(buffer) == 0


def test_the_first_in_line_passes_each_of_its_answers_on():
    buffer = ReorderBuffer()
    buffer.admit("a")
    buffer.admit("b")
    assert buffer.answer("b", 10, final=False) == []
    assert buffer.answer("a", 1, final=False) == [("a", 1)]
    assert buffer.answer("a", 2, final=True) == [("a", 2), ("b", 10)]
    assert buffer.answer("b", 11, final=True) == [("b", 11)]


def test_a_withdrawn_place_lets_the_others_pass():
    buffer = ReorderBuffer()
    buffer.admit("a")
    buffer.admit("b")
    buffer.answer("b", 1, final=True)
    assert buffer.withdraw("a") == [("b", 1)]
    assert buffer.withdraw("unknown") == []


@given(st.permutations(list(range(12))), st.sets(st.integers(0, 11)))
def test_answers_leave_in_order_of_admission_whatever_order_they_come_in(order, withdrawn):
    buffer = ReorderBuffer()
    for place in range(12):
        buffer.admit(place)
    released = []
    for place in order:
        released += buffer.withdraw(place) if place in withdrawn else buffer.answer(place, place, final=True)
    assert released == [(place, place) for place in range(12) if place not in withdrawn]
