import asyncio

from common import CONCURRENCY, URL, main, record_delay, record_now, send_apart
from saq import Queue, Worker


async def noop(ctx, body):
    record_now()


async def delay(ctx, sent_ns):
    record_delay(sent_ns)


async def fill(bodies):
    queue = Queue.from_url(URL)
    await queue.connect()
    for body in bodies:
        await queue.enqueue("noop", body=body)
    await queue.disconnect()


async def drip(count):
    queue = Queue.from_url(URL)
    await queue.connect()
    await send_apart(count, lambda sent_ns: queue.enqueue("delay", sent_ns=sent_ns))
    await queue.disconnect()


def worker():
    async def work():
        queue = Queue.from_url(URL)
        await queue.connect()
        await Worker(queue, [noop, delay], concurrency=CONCURRENCY).start()

    asyncio.run(work())


main(worker, fill=fill, drip=drip)
