import asyncio

from common import CONCURRENCY, URL, main, record_delay, record_now, send_apart
from streaq import Worker

WORKER = Worker(redis_url=URL, concurrency=CONCURRENCY)


@WORKER.task(silent=True)
async def noop(body):
    record_now()


@WORKER.task(silent=True)
async def delay(sent_ns):
    record_delay(sent_ns)


async def fill(bodies):
    async with WORKER:
        for start in range(0, len(bodies), 1000):
            await WORKER.enqueue_many([noop.enqueue(body) for body in bodies[start : start + 1000]])


async def drip(count):
    async def send(sent_ns):
        await delay.enqueue(sent_ns)

    async with WORKER:
        await send_apart(count, send)


main(lambda: asyncio.run(WORKER.run_async()), fill=fill, drip=drip)
