import time

import dramatiq
from common import CONCURRENCY, URL, main, record_delay, record_now, send_apart_blocking
from dramatiq.brokers.redis import RedisBroker

BROKER = RedisBroker(url=URL)
dramatiq.set_broker(BROKER)


@dramatiq.actor
def noop(body):
    record_now()


@dramatiq.actor
def delay(sent_ns):
    record_delay(sent_ns)


def fill(bodies):
    for body in bodies:
        noop.send(body)


def drip(count):
    send_apart_blocking(count, delay.send)


def worker():
    dramatiq.Worker(BROKER, worker_threads=CONCURRENCY).start()
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main(worker, fill=fill, drip=drip)
