from privbench.executors.retries import Retries
from privbench.executors.worker import ALONE, DEVICE, MEMORY


def test_a_call_gets_a_thread_if_others_may_run_beside_it():
    retries = Retries(2)
    assert retries.begin(0, "lane")
    assert not retries.begin(1, None)
    assert not Retries(1).begin(0, "lane")


def test_as_many_calls_run_side_by_side_as_there_are_lanes_except_those_alone():
    retries = Retries(2)
    assert retries.admits(1, [0])
    assert not retries.admits(2, [0, 1])
    retries.isolate(0)
    assert not retries.admits(1, [0])
    assert not retries.admits(0, [1])


def test_exhausted_memory_halves_the_lanes_with_which_the_call_began_and_the_call_is_tried_again():
    retries = Retries(8)
    for index in (0, 1):
        retries.begin(index, "lane")
    assert retries.after_error(0, "lane", MEMORY)
    assert retries.lanes == 4
    assert retries.after_error(1, "lane", MEMORY)  # begun with 8 lanes too: this says nothing of 4
    assert retries.lanes == 4
    for lanes in (2, 1):
        retries.begin(0, "lane")
        assert retries.after_error(0, "lane", MEMORY)
        assert retries.lanes == lanes
    retries.begin(0, "lane")
    assert not retries.after_error(0, "lane", MEMORY)  # alone, and it still does not fit


def test_an_error_that_others_may_have_caused_is_believed_only_if_the_call_was_alone():
    for kind in (ALONE, DEVICE):
        retries = Retries(4)
        retries.begin(0, "lane")
        assert retries.after_error(0, "lane", kind)
        assert not retries.begin(0, "lane")
        assert not retries.after_error(0, "lane", kind)
    retries.begin(1, "lane")
    assert not retries.after_error(1, "lane", "")
    retries.begin(2, None)
    assert not retries.after_error(2, None, DEVICE)


def test_a_death_beside_others_is_nobodys_and_the_second_one_alone_is_the_calls():
    retries = Retries(4)
    assert retries.after_death(0, 3)
    assert retries.after_death(0, 0)
    assert not retries.after_death(0, 0)
