"""Point reads of a bar by its key with psycopg 3 and its pool of 8 connections; prints reads per second last.

    python point_reads.py <url> <reads> <callers>

One caller is psycopg's plain way (threads); more of them are run both as threads and on asyncio. Both with the server's
own choice of plans and with plans that do not depend on the parameters, which ours asks for. The best counts.
"""
import asyncio
import datetime
import logging
import sys
import threading
import time

import psycopg
import psycopg_pool

logging.disable(logging.CRITICAL)
url, reads, callers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
START = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
ROWS = 300_000
SELECT = """SELECT open, high, low, close, volume FROM bars
WHERE exchange = %s AND symbol = %s AND interval_seconds = %s AND open_time = %s"""
PLANS = ["", "-c plan_cache_mode=force_generic_plan"]
count = reads // callers


def key(index, caller):
    place = (index * 7919 + caller * 104_729) % ROWS
    return ("binance", "BTCUSDT", 60, START + datetime.timedelta(minutes=place))


def threads(plans):
    options = {"autocommit": True, "options": plans}
    with psycopg_pool.ConnectionPool(url, min_size=8, max_size=8, kwargs=options) as pool:
        pool.wait()

        def work(caller, count):
            for index in range(count):
                with pool.connection() as connection:
                    row = connection.execute(SELECT, key(index, caller), prepare=True, binary=True).fetchone()
                    assert row[3] > 0

        work(0, 400)
        tasks = [threading.Thread(target=work, args=(caller, count)) for caller in range(callers)]
        begin = time.perf_counter()
        for task in tasks:
            task.start()
        for task in tasks:
            task.join()
        return count * callers / (time.perf_counter() - begin)


async def tasks(plans):
    options = {"autocommit": True, "options": plans}
    async with psycopg_pool.AsyncConnectionPool(url, min_size=8, max_size=8, open=False, kwargs=options) as pool:
        await pool.wait()

        async def work(caller, count):
            for index in range(count):
                async with pool.connection() as connection:
                    cursor = await connection.execute(SELECT, key(index, caller), prepare=True, binary=True)
                    row = await cursor.fetchone()
                    assert row[3] > 0

        await work(0, 400)
        begin = time.perf_counter()
        await asyncio.gather(*(work(caller, count) for caller in range(callers)))
        return count * callers / (time.perf_counter() - begin)


print(f"psycopg {psycopg.__version__}, {psycopg.pq.__impl__}")
rates = [threads(plans) for plans in PLANS]
if callers > 1:
    rates += [asyncio.run(tasks(plans)) for plans in PLANS]
print(" ".join(f"{rate:.0f}" for rate in rates))
print(max(rates))
