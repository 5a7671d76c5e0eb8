import logging

import redis
import rq_tasks
from common import HOST, PORT, main, send_apart_blocking
from rq import Queue, SimpleWorker

SERVER = redis.Redis(host=HOST, port=PORT)
QUEUE = Queue("bench", connection=SERVER)


def fill(bodies):
    for start in range(0, len(bodies), 1000):
        piece = bodies[start : start + 1000]
        QUEUE.enqueue_many([Queue.prepare_data(rq_tasks.noop, args=(body,)) for body in piece])


def drip(count):
    send_apart_blocking(count, lambda sent_ns: QUEUE.enqueue(rq_tasks.delay, sent_ns))


def worker():
    logging.disable(logging.CRITICAL)
    SimpleWorker([QUEUE], connection=SERVER).work()


main(worker, fill=fill, drip=drip)
