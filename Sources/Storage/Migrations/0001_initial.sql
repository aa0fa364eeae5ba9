-- Vomma's first schema. Times are timestamptz with microseconds; prices are in the quote currency, quantities in base
-- units, volatilities absolute (0.20 is 20 %). Natural keys are primary keys, so that every write can be repeated.
-- Tables marked PARTITIONED are split by calendar month (UTC) on their time column; partitions are made on demand.

-- What can be traded or observed, with the exchange's rules.
CREATE TABLE instruments (
    exchange        text NOT NULL,
    symbol          text NOT NULL,
    base            text NOT NULL,
    quote           text NOT NULL,
    tick_size       numeric NOT NULL CHECK (tick_size > 0),
    lot_size        numeric NOT NULL CHECK (lot_size > 0),
    min_quantity    numeric NOT NULL,
    max_quantity    numeric NOT NULL,
    min_notional    numeric NOT NULL,
    maker_fee       double precision NOT NULL,
    taker_fee       double precision NOT NULL,
    allows_short    boolean NOT NULL,
    max_leverage    double precision NOT NULL DEFAULT 1,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (exchange, symbol)
);

-- PARTITIONED. Candles; known from open_time + interval_seconds.
CREATE TABLE bars (
    exchange         text NOT NULL,
    symbol           text NOT NULL,
    interval_seconds integer NOT NULL,
    open_time        timestamptz NOT NULL,
    open             double precision NOT NULL,
    high             double precision NOT NULL,
    low              double precision NOT NULL,
    close            double precision NOT NULL,
    volume           double precision NOT NULL,
    PRIMARY KEY (exchange, symbol, interval_seconds, open_time)
) PARTITION BY RANGE (open_time);

-- PARTITIONED. Best bid and ask.
CREATE TABLE book_tops (
    exchange   text NOT NULL,
    symbol     text NOT NULL,
    event_time timestamptz NOT NULL,
    known_at   timestamptz NOT NULL,
    bid_price  double precision NOT NULL,
    ask_price  double precision NOT NULL,
    bid_volume double precision NOT NULL,
    ask_volume double precision NOT NULL,
    PRIMARY KEY (exchange, symbol, event_time)
) PARTITION BY RANGE (event_time);

-- PARTITIONED. Public trades.
CREATE TABLE trades_public (
    exchange      text NOT NULL,
    symbol        text NOT NULL,
    trade_id      bigint NOT NULL,
    event_time    timestamptz NOT NULL,
    known_at      timestamptz NOT NULL,
    price         double precision NOT NULL,
    quantity      double precision NOT NULL,
    buyer_maker   boolean NOT NULL,
    PRIMARY KEY (exchange, symbol, trade_id, event_time)
) PARTITION BY RANGE (event_time);

CREATE TABLE funding_rates (
    exchange         text NOT NULL,
    symbol           text NOT NULL,
    event_time       timestamptz NOT NULL,
    known_at         timestamptz NOT NULL,
    rate             double precision NOT NULL,
    interval_seconds integer NOT NULL,
    PRIMARY KEY (exchange, symbol, event_time)
);

CREATE TABLE open_interest (
    exchange   text NOT NULL,
    symbol     text NOT NULL,
    event_time timestamptz NOT NULL,
    known_at   timestamptz NOT NULL,
    quantity   double precision NOT NULL,
    notional   double precision,
    PRIMARY KEY (exchange, symbol, event_time)
);

-- Crypto Fear & Greed, 0 … 100; one row a day, known from its publication.
CREATE TABLE fear_greed (
    event_time timestamptz PRIMARY KEY,
    known_at   timestamptz NOT NULL,
    value      double precision NOT NULL CHECK (value BETWEEN 0 AND 100)
);

-- PARTITIONED. Option chains quote by quote; *_coin in the underlying coin.
CREATE TABLE option_quotes (
    exchange         text NOT NULL,
    currency         text NOT NULL,
    snapshot_time    timestamptz NOT NULL,
    known_at         timestamptz NOT NULL,
    instrument       text NOT NULL,
    kind             text NOT NULL CHECK (kind IN ('call', 'put')),
    strike           double precision NOT NULL,
    expiry           timestamptz NOT NULL,
    underlying_price double precision NOT NULL,
    index_price      double precision NOT NULL,
    bid_price_coin   double precision,
    ask_price_coin   double precision,
    mark_price_coin  double precision,
    mark_volatility  double precision,
    open_interest    double precision,
    volume           double precision,
    PRIMARY KEY (exchange, currency, snapshot_time, instrument)
) PARTITION BY RANGE (snapshot_time);

-- Surfaces on their grid; arrays are row-major in k. cells: 0 missing, 1 observed, 2 interpolated, 3 extrapolated, 4 stale.
CREATE TABLE iv_surfaces (
    exchange           text NOT NULL,
    currency           text NOT NULL,
    event_time         timestamptz NOT NULL,
    known_at           timestamptz NOT NULL,
    log_moneyness      double precision[] NOT NULL,
    tau                double precision[] NOT NULL,
    implied_volatility double precision[] NOT NULL,
    cells              bytea NOT NULL,
    spot               double precision NOT NULL,
    forwards           double precision[] NOT NULL,
    method             text NOT NULL,
    report             jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (exchange, currency, event_time, method)
);

-- One inversion of one surface by one method (calibration, network, polished).
CREATE TABLE heston_fits (
    exchange      text NOT NULL,
    currency      text NOT NULL,
    event_time    timestamptz NOT NULL,
    method        text NOT NULL,
    model_version text NOT NULL,
    kappa         double precision NOT NULL,
    theta         double precision NOT NULL,
    sigma         double precision NOT NULL,
    rho           double precision NOT NULL,
    v0            double precision NOT NULL,
    rmse_volatility double precision NOT NULL,
    iterations    integer NOT NULL,
    termination   text NOT NULL,
    PRIMARY KEY (exchange, currency, event_time, method, model_version)
);

-- Texts: news, posts, headlines.
CREATE TABLE messages (
    source     text NOT NULL,
    message_id text NOT NULL,
    event_time timestamptz NOT NULL,
    known_at   timestamptz NOT NULL,
    symbol     text NOT NULL DEFAULT '',
    text       text NOT NULL,
    PRIMARY KEY (source, message_id)
);

CREATE TABLE sentiment (
    source     text NOT NULL,
    message_id text NOT NULL,
    model      text NOT NULL,
    score      double precision NOT NULL,
    bearish    double precision NOT NULL,
    neutral    double precision NOT NULL,
    bullish    double precision NOT NULL,
    PRIMARY KEY (source, message_id, model)
);

-- A gap-free ordered sequence of market events over a span; what services subscribe to.
CREATE TABLE streams (
    stream          text PRIMARY KEY,
    exchange        text NOT NULL,
    symbols         text[] NOT NULL,
    currencies      text[] NOT NULL,
    from_time       timestamptz NOT NULL,
    to_time         timestamptz NOT NULL,
    -- Symbols that the policy decides on and the account trades; empty: features only.
    traded_symbols  text[] NOT NULL DEFAULT '{}',
    -- Decisions and orders begin here; earlier events warm the features up.
    trade_from      timestamptz NOT NULL,
    -- Smallest gap between two published bars, in microseconds; 0: as fast as consumers take it.
    pace_microseconds bigint NOT NULL DEFAULT 0,
    -- building → active → closed; a closed stream publishes nothing and is not resumed.
    state           text NOT NULL CHECK (state IN ('building', 'active', 'closed')),
    -- The last sequence, known once the stream has been built.
    last_sequence   bigint,
    -- The account's terms: capital, fees, risk limits (JSON, see docs/configuration.md).
    settings        jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE stream_events (
    stream     text NOT NULL REFERENCES streams ON DELETE CASCADE,
    sequence   bigint NOT NULL,
    known_at   timestamptz NOT NULL,
    -- A serialized vomma.v1.MarketEvent.
    payload    bytea NOT NULL,
    PRIMARY KEY (stream, sequence)
);

-- How far a consumer of a stream has come, with the state it needs to go on from there. Written in the same transaction
-- as the rows that the consumer derived, so that its effects happen exactly once.
CREATE TABLE consumer_states (
    consumer   text NOT NULL,
    stream     text NOT NULL,
    sequence   bigint NOT NULL,
    state      bytea NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, stream)
);

CREATE TABLE feature_schemas (
    schema_version text PRIMARY KEY,
    names          text[] NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);

-- PARTITIONED. One vector a symbol and bar. valid: one bit a feature, least significant first, 1 = present.
CREATE TABLE features (
    stream         text NOT NULL,
    symbol         text NOT NULL,
    bar_time       timestamptz NOT NULL,
    schema_version text NOT NULL,
    -- The market event (the bar) that completed it.
    sequence       bigint NOT NULL,
    close          double precision NOT NULL,
    values         double precision[] NOT NULL,
    valid          bytea NOT NULL,
    -- Wall-clock stamps of the hop; not part of the record's identity.
    published_at   timestamptz,
    stored_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, symbol, bar_time, schema_version)
) PARTITION BY RANGE (bar_time);
CREATE INDEX features_by_sequence ON features (stream, sequence);

CREATE TABLE regimes (
    stream        text NOT NULL,
    symbol        text NOT NULL,
    bar_time      timestamptz NOT NULL,
    model_version text NOT NULL,
    probabilities double precision[] NOT NULL,
    PRIMARY KEY (stream, symbol, bar_time, model_version)
);

-- Statistics that turn features into network inputs; the id is the hash of the bytes.
CREATE TABLE normalisers (
    normaliser_id  text PRIMARY KEY,
    schema_version text NOT NULL,
    bytes          bytea NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);

-- Trained models. stage: candidate → accepted → live → retired; one live model a name.
CREATE TABLE models (
    name           text NOT NULL,
    version        bigint NOT NULL,
    kind           text NOT NULL,
    stage          text NOT NULL DEFAULT 'candidate' CHECK (stage IN ('candidate', 'accepted', 'live', 'retired')),
    checkpoint     bytea NOT NULL,
    sha256         text NOT NULL,
    schema_version text,
    normaliser_id  text REFERENCES normalisers,
    metrics        jsonb NOT NULL DEFAULT '{}',
    lineage        jsonb NOT NULL DEFAULT '{}',
    job_id         bigint,
    created_at     timestamptz NOT NULL DEFAULT now(),
    promoted_at    timestamptz,
    PRIMARY KEY (name, version),
    UNIQUE (job_id, name)
);
CREATE UNIQUE INDEX models_one_live ON models (name) WHERE stage = 'live';

-- Training jobs. A lease belongs to one attempt; whoever holds an older attempt can no longer write.
CREATE TABLE jobs (
    job_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Given by the submitter: submitting the same key twice is one job.
    job_key      text NOT NULL UNIQUE,
    kind         text NOT NULL,
    spec         jsonb NOT NULL,
    priority     integer NOT NULL DEFAULT 0,
    state        text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    attempt      integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL DEFAULT 5,
    lease_owner  text,
    lease_until  timestamptz,
    progress     double precision NOT NULL DEFAULT 0,
    message      text NOT NULL DEFAULT '',
    checkpoint   bytea,
    result       jsonb,
    error        text,
    parent_id    bigint REFERENCES jobs,
    created_at   timestamptz NOT NULL DEFAULT now(),
    started_at   timestamptz,
    finished_at  timestamptz
);
CREATE INDEX jobs_queue ON jobs (priority DESC, job_id) WHERE state IN ('queued', 'running');

CREATE TABLE job_metrics (
    job_id   bigint NOT NULL REFERENCES jobs ON DELETE CASCADE,
    step     bigint NOT NULL,
    name     text NOT NULL,
    value    double precision NOT NULL,
    PRIMARY KEY (job_id, step, name)
);

-- PARTITIONED. What the policy wanted at each bar; stored before it is sent.
CREATE TABLE decisions (
    stream          text NOT NULL,
    symbol          text NOT NULL,
    bar_time        timestamptz NOT NULL,
    sequence        bigint NOT NULL,
    model_name      text NOT NULL,
    model_version   bigint NOT NULL,
    -- Share of equity, −1 … 1; NULL when the policy abstained (then `abstained` says why).
    target_exposure double precision,
    value           double precision,
    confidence      double precision,
    reasons         jsonb NOT NULL DEFAULT '[]',
    abstained       text,
    published_at    timestamptz,
    state_at        timestamptz,
    stored_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, symbol, bar_time)
) PARTITION BY RANGE (bar_time);
CREATE INDEX decisions_by_sequence ON decisions (stream, sequence);

CREATE TABLE orders (
    account         text NOT NULL,
    client_order_id text NOT NULL,
    symbol          text NOT NULL,
    side            text NOT NULL CHECK (side IN ('buy', 'sell')),
    kind            text NOT NULL,
    quantity        numeric NOT NULL CHECK (quantity > 0),
    limit_price     numeric,
    state           text NOT NULL,
    decision_time   timestamptz NOT NULL,
    sequence        bigint NOT NULL,
    reason          text,
    filled_quantity numeric NOT NULL DEFAULT 0,
    published_at    timestamptz,
    decided_at      timestamptz,
    stored_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (account, client_order_id)
);

-- Every change of an order's state, numbered from 0 within the order.
CREATE TABLE order_events (
    account         text NOT NULL,
    client_order_id text NOT NULL,
    number          integer NOT NULL,
    event_time      timestamptz NOT NULL,
    state           text NOT NULL,
    detail          text NOT NULL DEFAULT '',
    PRIMARY KEY (account, client_order_id, number)
);

CREATE TABLE fills (
    account         text NOT NULL,
    client_order_id text NOT NULL,
    number          integer NOT NULL,
    symbol          text NOT NULL,
    side            text NOT NULL,
    event_time      timestamptz NOT NULL,
    price           numeric NOT NULL,
    quantity        numeric NOT NULL CHECK (quantity > 0),
    fee             numeric NOT NULL,
    realised_pnl    numeric NOT NULL,
    PRIMARY KEY (account, client_order_id, number)
);

CREATE TABLE positions (
    account       text NOT NULL,
    symbol        text NOT NULL,
    quantity      numeric NOT NULL,
    average_price numeric NOT NULL,
    realised_pnl  numeric NOT NULL,
    fees          numeric NOT NULL,
    event_time    timestamptz NOT NULL,
    PRIMARY KEY (account, symbol)
);

-- PARTITIONED. The account at each bar's close.
CREATE TABLE equity (
    account    text NOT NULL,
    event_time timestamptz NOT NULL,
    sequence   bigint NOT NULL,
    cash       double precision NOT NULL,
    equity     double precision NOT NULL,
    exposure   double precision NOT NULL,
    price      double precision NOT NULL,
    PRIMARY KEY (account, event_time)
) PARTITION BY RANGE (event_time);

-- Decisions that did not become orders, with the rule that stopped them, and kill switches.
CREATE TABLE risk_events (
    account    text NOT NULL,
    symbol     text NOT NULL,
    event_time timestamptz NOT NULL,
    rule       text NOT NULL,
    detail     text NOT NULL,
    PRIMARY KEY (account, symbol, event_time, rule)
);

CREATE TABLE settings (
    key        text PRIMARY KEY,
    value      jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- For people: one row a fill with its order's times.
CREATE VIEW trades AS
SELECT f.account, f.symbol, f.side, f.event_time, f.price, f.quantity, f.fee, f.realised_pnl,
       o.decision_time, f.event_time - o.decision_time AS delay
FROM fills f JOIN orders o USING (account, client_order_id);

-- For people: the account day by day (UTC).
CREATE VIEW daily_performance AS
SELECT account, day, first_equity, last_equity, last_equity / NULLIF(first_equity, 0) - 1 AS change
FROM (
    SELECT account, date_trunc('day', event_time, 'UTC') AS day,
           (array_agg(equity ORDER BY event_time))[1] AS first_equity,
           (array_agg(equity ORDER BY event_time DESC))[1] AS last_equity
    FROM equity GROUP BY 1, 2
) d;

-- For people: milliseconds of each hop, from the wall-clock stamps of the records.
CREATE VIEW latency_per_hop AS
SELECT stream, hop, count(*) AS count,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY milliseconds) AS p50,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY milliseconds) AS p99
FROM (
    SELECT stream, '1 bar published to features stored' AS hop,
           extract(epoch FROM stored_at - published_at) * 1000 AS milliseconds
    FROM features WHERE published_at IS NOT NULL
    UNION ALL
    SELECT stream, '2 state sent to decision stored', extract(epoch FROM stored_at - state_at) * 1000
    FROM decisions WHERE state_at IS NOT NULL
    UNION ALL
    SELECT account, '3 decision sent to order stored', extract(epoch FROM stored_at - decided_at) * 1000
    FROM orders WHERE decided_at IS NOT NULL
    UNION ALL
    SELECT account, '4 bar published to order stored', extract(epoch FROM stored_at - published_at) * 1000
    FROM orders WHERE published_at IS NOT NULL
) hops GROUP BY 1, 2;
