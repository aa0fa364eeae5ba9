-- Partitions are made and dropped by functions that run with their owner's rights, so that the services' roles need no
-- right to change the schema. Equity has a point a symbol and bar. Views for people show round trips.

-- Before, of several symbols whose bars closed at one moment only the first had a point.
ALTER TABLE equity ADD COLUMN symbol text NOT NULL DEFAULT '';
ALTER TABLE equity DROP CONSTRAINT equity_pkey;
ALTER TABLE equity ADD PRIMARY KEY (account, event_time, symbol);
CREATE INDEX equity_by_sequence ON equity (account, sequence);

ALTER TABLE streams ADD COLUMN closed_at timestamptz;
UPDATE streams SET closed_at = now() WHERE state = 'closed';

-- The monthly partition `parent`_p2026_03, unless it is there. Whoever may insert into the parent may have it made.
-- True when it was made.
CREATE FUNCTION ensure_partition(parent text, year integer, month integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    partition text := format('%s_p%s_%s', parent, lpad(year::text, 4, '0'), lpad(month::text, 2, '0'));
    starts timestamptz := make_timestamptz(year, month, 1, 0, 0, 0, 'UTC');
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_partitioned_table t JOIN pg_class c ON c.oid = t.partrelid
        WHERE c.relname = parent AND c.relnamespace = 'public'::regnamespace
    ) THEN
        RAISE undefined_table USING MESSAGE = format('%s is no partitioned table', parent);
    END IF;
    IF NOT has_table_privilege(session_user, format('public.%I', parent), 'INSERT') THEN
        RAISE insufficient_privilege USING MESSAGE = format('%s may not insert into %s', session_user, parent);
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('partitions of ' || parent, 0));
    IF to_regclass(format('public.%I', partition)) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- Attaching a finished table locks the parent less than CREATE … PARTITION OF: readers and writers go on.
    EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                   partition, parent);
    EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                   parent, partition, starts, starts + interval '1 month');
    RETURN true;
END $$;
REVOKE EXECUTE ON FUNCTION ensure_partition(text, integer, integer) FROM PUBLIC;

-- Retention: the setting `retention` names days to keep by table, {"book_tops": 30}; a table that is not named keeps
-- everything. Nothing is dropped that a stream needs which is not closed, or which a waiting or running job names,
-- with a month before its beginning for what warms features up. NULL: there is no such stream.
CREATE FUNCTION retention_floor() RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT min(s.from_time) - interval '31 days' FROM streams s
    WHERE s.state <> 'closed' OR EXISTS (
        SELECT FROM jobs j WHERE j.state IN ('queued', 'running')
            AND jsonb_path_exists(j.spec, '$.** ? (@ == $stream)', jsonb_build_object('stream', s.stream)))
$$;

-- Whole partitions that retention allows to drop, the oldest first.
CREATE FUNCTION expired_partitions() RETURNS TABLE (parent text, partition text, ends timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $$
    SELECT known.parent, known.partition, known.ends FROM (
        SELECT p.relname::text AS parent, c.relname::text AS partition,
               to_timestamp(right(c.relname, 7), 'YYYY_MM') + interval '1 month' AS ends
        FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid
        WHERE p.relkind = 'p' AND c.relkind = 'r' AND p.relnamespace = 'public'::regnamespace
            AND c.relname ~ ('^' || p.relname || '_p[0-9]{4}_[0-9]{2}$')
    ) known
    JOIN LATERAL (
        SELECT (value ->> known.parent)::double precision AS days FROM settings
        WHERE key = 'retention' AND jsonb_typeof(value -> known.parent) = 'number'
    ) kept ON kept.days >= 1
    CROSS JOIN LATERAL (SELECT retention_floor() AS floor) needed
    WHERE known.ends <= now() - make_interval(secs => kept.days * 86400)
        AND (needed.floor IS NULL OR known.ends <= needed.floor)
    ORDER BY known.ends, known.parent
$$;

-- Drops the first expired partition, or 10,000 events of a stream that was closed longer ago than retention keeps
-- `stream_events`; says what, and NULL when nothing is left to drop. A stream can't begin to need it meanwhile. Gives up
-- (55P03) rather than hold up readers and writers for longer than its lock_timeout.
CREATE FUNCTION drop_expired() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC'
SET lock_timeout = '2s' AS $$
DECLARE
    expired record;
    dropped bigint;
BEGIN
    LOCK TABLE streams, jobs IN SHARE MODE;
    SELECT * INTO expired FROM expired_partitions() LIMIT 1;
    IF FOUND THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('partitions of ' || expired.parent, 0));
        EXECUTE format('DROP TABLE public.%I', expired.partition);
        RETURN expired.partition;
    END IF;
    SELECT s.stream INTO expired FROM streams s
    JOIN settings k ON k.key = 'retention' AND jsonb_typeof(k.value -> 'stream_events') = 'number'
    WHERE s.state = 'closed' AND (k.value ->> 'stream_events')::double precision >= 1
        AND s.closed_at <= now() - make_interval(secs => (k.value ->> 'stream_events')::double precision * 86400)
        AND EXISTS (SELECT FROM stream_events e WHERE e.stream = s.stream)
        AND NOT EXISTS (
            SELECT FROM jobs j WHERE j.state IN ('queued', 'running')
                AND jsonb_path_exists(j.spec, '$.** ? (@ == $stream)', jsonb_build_object('stream', s.stream)))
    ORDER BY s.closed_at LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    DELETE FROM stream_events e USING (
        SELECT sequence FROM stream_events WHERE stream = expired.stream ORDER BY sequence LIMIT 10000
    ) first WHERE e.stream = expired.stream AND e.sequence = first.sequence;
    GET DIAGNOSTICS dropped = ROW_COUNT;
    RETURN format('%s events of %s', dropped, expired.stream);
END $$;
REVOKE EXECUTE ON FUNCTION drop_expired() FROM PUBLIC;

-- For people: one row a fill with its order's times; what the view `trades` was.
DROP VIEW trades;
CREATE VIEW trade_fills AS
SELECT f.account, f.symbol, f.side, f.event_time, f.price, f.quantity, f.fee, f.realised_pnl,
       o.decision_time, f.event_time - o.decision_time AS delay
FROM fills f JOIN orders o USING (account, client_order_id);

-- For people: round trips, from flat to flat. A fill that turns the position round closes one and opens the next, and
-- its fee is shared by quantity. closed_at is NULL while the position is open. Money in the quote currency;
-- latency_milliseconds: from the opening bar's publication to its order stored, by the wall clock.
CREATE VIEW trades AS
WITH signed AS (
    SELECT f.account, f.symbol, f.event_time, o.sequence, f.client_order_id, f.number, f.price, f.quantity, f.fee,
           f.realised_pnl, extract(epoch FROM o.stored_at - o.published_at) * 1000 AS latency,
           CASE f.side WHEN 'buy' THEN f.quantity ELSE -f.quantity END AS change,
           sum(CASE f.side WHEN 'buy' THEN f.quantity ELSE -f.quantity END) OVER (
               PARTITION BY f.account, f.symbol ORDER BY f.event_time, o.sequence, f.client_order_id, f.number
           ) AS after
    FROM fills f JOIN orders o USING (account, client_order_id)
), parts AS (
    SELECT s.*, part,
           CASE part WHEN 0 THEN after - change ELSE 0 END AS position_before,
           CASE WHEN turns = 1 AND part = 0 THEN 0 ELSE after END AS position_after,
           CASE WHEN turns = 0 THEN quantity WHEN part = 0 THEN abs(after - change) ELSE abs(after) END
               AS part_quantity
    FROM signed s
    CROSS JOIN LATERAL (SELECT (sign(after) * sign(after - change) < 0)::int AS turns) t
    CROSS JOIN LATERAL generate_series(0, turns) part
), numbered AS (
    SELECT p.*, count(*) FILTER (WHERE position_before = 0) OVER w AS trip, row_number() OVER w AS place,
           abs(position_after) > abs(position_before) AS opens
    FROM parts p
    WINDOW w AS (PARTITION BY account, symbol ORDER BY event_time, sequence, client_order_id, number, part)
)
SELECT account, symbol, trip AS number,
       CASE WHEN (array_agg(position_after - position_before ORDER BY place))[1] > 0 THEN 'long' ELSE 'short' END
           AS side,
       min(event_time) AS opened_at,
       CASE WHEN (array_agg(position_after ORDER BY place DESC))[1] = 0 THEN max(event_time) END AS closed_at,
       max(greatest(abs(position_before), abs(position_after))) AS quantity,
       sum(price * part_quantity) FILTER (WHERE opens) / sum(part_quantity) FILTER (WHERE opens) AS entry_price,
       sum(price * part_quantity) FILTER (WHERE NOT opens) / sum(part_quantity) FILTER (WHERE NOT opens) AS exit_price,
       sum(CASE part WHEN 0 THEN realised_pnl ELSE 0 END) AS pnl,
       sum(fee * part_quantity / quantity) AS fees,
       sum(CASE part WHEN 0 THEN realised_pnl ELSE 0 END) - sum(fee * part_quantity / quantity) AS net_pnl,
       count(*) AS fills,
       (array_agg(latency ORDER BY place))[1]::double precision AS latency_milliseconds
FROM numbered GROUP BY account, symbol, trip;

-- For people: the account day by day (UTC). change: against the day before; on the first day, since its first point.
DROP VIEW daily_performance;
CREATE VIEW daily_performance AS
SELECT d.account, d.day, d.first_equity, d.last_equity, d.lowest_equity,
       d.last_equity / NULLIF(coalesce(lag(d.last_equity) OVER w, d.first_equity), 0) - 1 AS change,
       coalesce(f.fills, 0) AS fills, coalesce(f.fees, 0) AS fees, coalesce(f.realised_pnl, 0) AS realised_pnl
FROM (
    SELECT account, date_trunc('day', event_time, 'UTC') AS day,
           (array_agg(equity ORDER BY event_time, sequence))[1] AS first_equity,
           (array_agg(equity ORDER BY event_time DESC, sequence DESC))[1] AS last_equity,
           min(equity) AS lowest_equity
    FROM equity GROUP BY 1, 2
) d
LEFT JOIN (
    SELECT account, date_trunc('day', event_time, 'UTC') AS day, count(*) AS fills, sum(fee) AS fees,
           sum(realised_pnl) AS realised_pnl
    FROM fills GROUP BY 1, 2
) f USING (account, day)
WINDOW w AS (PARTITION BY d.account ORDER BY d.day);
