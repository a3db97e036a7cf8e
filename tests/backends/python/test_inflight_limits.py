"""A model that streams into a later step of a limited ensemble waits until that step can take more."""

from __future__ import annotations

import asyncio

from tests.backends.python.engine_kit import DECOUPLED, both_modes, methods, served, stream, text_request, write_model

# Counts in a file how often `send` has returned.
PRODUCER = methods("""
    def execute(self, requests):
        for request in requests:
            sender, path = request.get_response_sender(), text(request)
            for count in range(1, 9):
                sender.send(reply(path))
                with open(path + ".new", "w") as file: file.write(str(count))
                os.replace(path + ".new", path)
            sender.send(flags=1)
""")
CONSUMER = methods("""
    def execute(self, requests):
        path = text(requests[0])
        while not os.path.exists(path + ".go"): time.sleep(0.001)
        if not os.path.exists(path): return [reply("0")]
        with open(path) as file: return [reply(file.read())]
""")
ENSEMBLE = """
platform: "ensemble"
input { name: "IN" data_type: TYPE_STRING dims: [ -1 ] }
output { name: "OUT" data_type: TYPE_STRING dims: [ -1 ] }
ensemble_scheduling {
  max_inflight_requests: 1
  step { model_name: "p" model_version: -1 input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "m" } }
  step { model_name: "c" model_version: -1 input_map { key: "IN" value: "m" } output_map { key: "OUT" value: "OUT" } }
}
"""


@both_modes
def test_responses_do_not_pile_up_before_a_slow_step(tmp_path, mode):
    repository = tmp_path / "models"
    write_model(repository, "p", PRODUCER, mode=mode, config=DECOUPLED)
    write_model(repository, "c", CONSUMER, mode=mode)
    (repository / "e" / "1").mkdir(parents=True)
    (repository / "e" / "config.pbtxt").write_text(ENSEMBLE)
    path = tmp_path / "sent"

    async def scenario(engine):
        answering = asyncio.create_task(stream(engine, text_request("e", str(path))))
        while not path.exists():  # noqa: ASYNC110  the model makes the file
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)  # in which a model that nothing holds would send everything
        (tmp_path / "sent.go").touch()
        answers = await answering
        return [int(answer.outputs[0].array[0]) for answer in answers if answer.outputs]

    sent = served(repository, scenario)
    assert len(sent) == 8
    assert all(count <= index + 2 for index, count in enumerate(sent)), sent


@both_modes
def test_a_client_that_goes_sets_the_model_free(tmp_path, mode):
    repository = tmp_path / "models"
    write_model(repository, "p", PRODUCER, mode=mode, config=DECOUPLED)
    write_model(repository, "c", CONSUMER, mode=mode)
    (repository / "e" / "1").mkdir(parents=True)
    (repository / "e" / "config.pbtxt").write_text(ENSEMBLE)
    path = tmp_path / "sent"

    async def scenario(engine):
        pending = engine.submit(text_request("e", str(path)), lambda _: None)
        while not path.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        pending.cancel()
        while path.read_text() != "8":  # noqa: ASYNC110  it goes on sending to nobody
            await asyncio.sleep(0.001)
        (tmp_path / "sent.go").touch()

    served(repository, scenario)
