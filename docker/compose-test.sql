-- What a replay of the stream (and account) :name stored, a line a table: how many rows, and a digest of them without
-- what may differ between two replays of the same events: names, the ids that are made of them, and wall-clock stamps.
-- An order's events and fills are told apart by its decision instead.
CREATE TEMP VIEW stored AS
SELECT 1 AS place, 'features' AS name, stream AS owner, to_jsonb(t) AS row FROM features t
UNION ALL SELECT 2, 'decisions', stream, to_jsonb(t) FROM decisions t
UNION ALL SELECT 3, 'orders', account, to_jsonb(t) FROM orders t
UNION ALL SELECT 4, 'order_events', e.account,
    to_jsonb(e) || jsonb_build_object('decision', o.decision_time, 'of', o.symbol)
    FROM order_events e JOIN orders o USING (account, client_order_id)
UNION ALL SELECT 5, 'fills', f.account, to_jsonb(f) || jsonb_build_object('decision', o.decision_time)
    FROM fills f JOIN orders o USING (account, client_order_id)
UNION ALL SELECT 6, 'positions', account, to_jsonb(t) FROM positions t
UNION ALL SELECT 7, 'equity', account, to_jsonb(t) FROM equity t
UNION ALL SELECT 8, 'risk_events', account, to_jsonb(t) FROM risk_events t;

SELECT name, count(*), md5(string_agg(row::text, E'\n' ORDER BY row::text COLLATE "C"))
FROM (
    SELECT place, name, row - ARRAY['stream', 'account', 'client_order_id', 'published_at', 'state_at', 'decided_at',
                                    'stored_at', 'updated_at'] AS row
    FROM stored WHERE owner = :'name'
) t
GROUP BY place, name ORDER BY place;
