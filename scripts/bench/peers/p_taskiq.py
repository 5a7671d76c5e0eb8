import asyncio

from common import CONCURRENCY, URL, main, record_delay, record_now, send_apart
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

BROKER = RedisStreamBroker(URL, consumer_id="0")


@BROKER.task
async def noop(body: str) -> None:
    record_now()


@BROKER.task
async def delay(sent_ns: int) -> None:
    record_delay(sent_ns)


async def fill(bodies):
    await BROKER.startup()
    for body in bodies:
        await noop.kiq(body)
    await BROKER.shutdown()


async def drip(count):
    await BROKER.startup()
    await send_apart(count, delay.kiq)
    await BROKER.shutdown()


def worker():
    asyncio.run(run_receiver_task(BROKER, run_startup=True, max_async_tasks=CONCURRENCY))


main(worker, fill=fill, drip=drip)
