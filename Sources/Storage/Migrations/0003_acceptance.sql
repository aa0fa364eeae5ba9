-- What a policy was tried on, how it was judged, and who made which version live when. None of it is ever changed.

-- Kinds of jobs have the name of what they make in front.
UPDATE jobs SET kind = 'policy.ppo' WHERE kind = 'ppo';
UPDATE models SET kind = 'policy.ppo' WHERE kind = 'ppo';

-- Every policy that was tried on bars that it was not trained on: those that were discarded, and those of jobs that
-- failed, too. What a deflated Sharpe ratio has to count.
CREATE TABLE trials (
    job_id     bigint NOT NULL REFERENCES jobs,
    -- Which of the job's: `seed 1 iteration 40`.
    trial      text NOT NULL,
    -- Name of the model that the job trains.
    model      text NOT NULL,
    exchange   text NOT NULL,
    symbol     text NOT NULL,
    -- The bars it was tried on.
    span_from  timestamptz NOT NULL,
    span_to    timestamptz NOT NULL,
    -- Of one bar, not annualised; NULL where the account never moved.
    sharpe     double precision,
    net_return double precision NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, trial)
);
CREATE INDEX trials_by_model ON trials (model, symbol);

-- Each time that a job began to read a final block. Stored before anything of it is read, so that a job that failed or
-- was killed counts as well.
CREATE TABLE final_block_reads (
    job_id     bigint NOT NULL PRIMARY KEY REFERENCES jobs,
    name       text NOT NULL,
    version    bigint NOT NULL,
    exchange   text NOT NULL,
    symbol     text NOT NULL,
    block_from timestamptz NOT NULL,
    block_to   timestamptz NOT NULL,
    read_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (name, version) REFERENCES models
);
CREATE INDEX final_block_reads_by_symbol ON final_block_reads (exchange, symbol);

-- The verdicts.
CREATE TABLE acceptances (
    job_id    bigint NOT NULL PRIMARY KEY REFERENCES final_block_reads,
    name      text NOT NULL,
    version   bigint NOT NULL,
    passed    boolean NOT NULL,
    report    jsonb NOT NULL,
    judged_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (name, version) REFERENCES models
);
CREATE INDEX acceptances_by_model ON acceptances (name, version);

-- Which version became live, when and why.
CREATE TABLE promotions (
    promotion_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name             text NOT NULL,
    version          bigint NOT NULL,
    -- Live before it; NULL for the first.
    previous_version bigint,
    action           text NOT NULL CHECK (action IN ('promote', 'rollback')),
    -- Whether an acceptance of the version had passed.
    accepted         boolean NOT NULL,
    reason           text NOT NULL DEFAULT '',
    promoted_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (name, version) REFERENCES models
);
CREATE INDEX promotions_by_name ON promotions (name, promotion_id);

-- What is live already.
INSERT INTO promotions (name, version, action, accepted, reason, promoted_at)
SELECT name, version, 'promote', false, 'live before there was a ledger', coalesce(promoted_at, created_at)
FROM models WHERE stage = 'live' ORDER BY promoted_at;

-- An instrument's rules over time; `instruments` has the present ones. What held before the first row is not known:
-- then the first row counts.
CREATE TABLE instrument_rules (
    exchange     text NOT NULL,
    symbol       text NOT NULL,
    valid_from   timestamptz NOT NULL,
    base         text NOT NULL,
    quote        text NOT NULL,
    tick_size    numeric NOT NULL CHECK (tick_size > 0),
    lot_size     numeric NOT NULL CHECK (lot_size > 0),
    min_quantity numeric NOT NULL,
    max_quantity numeric NOT NULL,
    min_notional numeric NOT NULL,
    maker_fee    double precision NOT NULL,
    taker_fee    double precision NOT NULL,
    allows_short boolean NOT NULL,
    max_leverage double precision NOT NULL,
    PRIMARY KEY (exchange, symbol, valid_from)
);
INSERT INTO instrument_rules
SELECT exchange, symbol, updated_at, base, quote, tick_size, lot_size, min_quantity, max_quantity, min_notional,
       maker_fee, taker_fee, allows_short, max_leverage
FROM instruments;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = format('%s only grows: its rows are never changed', TG_TABLE_NAME);
END $$;
CREATE TRIGGER only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON promotions EXECUTE FUNCTION refuse_change();
CREATE TRIGGER only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON acceptances EXECUTE FUNCTION refuse_change();
CREATE TRIGGER only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON final_block_reads EXECUTE FUNCTION refuse_change();
