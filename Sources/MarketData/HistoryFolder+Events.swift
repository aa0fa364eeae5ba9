/// A span of history, ready to be merged: everything but option chains as events, the chains as they were.
public struct History: Sendable {
    /// One list a source, each in the merger's order; not yet numbered.
    public var sources: [[MarketEvent]]
    /// In time order. Each becomes known at `KnownTimes.chain(snapshotTime:)`; the caller builds surfaces from them.
    public var chains: [OptionChain]
    /// One a file read.
    public var reports: [LoadReport]
    /// Files that the folder does not have, in words, for the run's report: an absent input is named, not invented.
    public var absent: [String]

    public init(
        sources: [[MarketEvent]], chains: [OptionChain] = [], reports: [LoadReport] = [], absent: [String] = []
    ) {
        self.sources = sources
        self.chains = chains
        self.reports = reports
        self.absent = absent
    }

    /// All sources in one stream, numbered from 1, with more (the surfaces made from the chains) if given.
    public func merged(with more: [[MarketEvent]] = []) -> [MarketEvent] { EventMerger.merge(sources + more) }
}

extension HistoryFolder {
    /// Reads everything there is about `symbols` that became known in `span`.
    ///
    /// The span is of known times, so it takes the bars that close in it, and holds no value that was known before it:
    /// ask for an earlier start where the first decisions need the last funding or index.
    /// A symbol without bars throws `notInFolder`; a missing slow input is listed in `absent`. `currency`: whose option
    /// chains; nil for none.
    public func history(
        symbols: [String], currency: String? = "BTC", span: Range<Timestamp>, interval: Interval = .minutes(1),
        maximumJump: Double? = nil
    ) throws(MarketDataError) -> History {
        var history = History(sources: [])
        // A value counts by when it was known: read from before the span what becomes known within it.
        func earlier(_ lead: Interval) -> Range<Timestamp> { (span.lowerBound - lead)..<span.upperBound }
        func append(_ events: [MarketEvent], _ report: LoadReport) {
            history.sources.append(EventMerger.sorted(events.filter { span.contains($0.knownAt) }))
            history.reports.append(report)
        }

        for symbol in symbols {
            let bars = try bars(symbol, interval: interval, span: earlier(interval), maximumJump: maximumJump)
            append(bars.rows.map { MarketEvent(bar: $0, exchange: "binance", symbol: symbol) }, bars.report)

            if has(.funding, symbol) {
                let funding = try funding(symbol, span: span)
                append(
                    funding.rows.map {
                        MarketEvent(
                            exchange: "binance_futures", symbol: symbol, eventTime: $0.time, knownAt: $0.time,
                            payload: .fundingRate($0.value))
                    }, funding.report)
            } else {
                history.absent.append("funding of \(symbol)")
            }

            if has(.openInterest, symbol) {
                for part in try openInterest(symbol, span: earlier(KnownTimes.openInterestDelay)) {
                    append(
                        part.rows.map {
                            MarketEvent(
                                exchange: "binance_futures", symbol: symbol, eventTime: $0.time,
                                knownAt: KnownTimes.openInterest($0.time), payload: .openInterest($0.value))
                        }, part.report)
                }
            } else {
                history.absent.append("open interest of \(symbol)")
            }
        }

        if has(.fearGreed, "") {
            let index = try fearGreed(span: earlier(.days(2)))
            append(
                index.rows.map {
                    MarketEvent(
                        exchange: "", symbol: "", eventTime: $0.time, knownAt: KnownTimes.fearGreed($0.time),
                        payload: .fearGreed($0.value))
                }, index.report)
        } else {
            history.absent.append("fear & greed index")
        }

        let news = files.filter { $0.kind == .news }
        for file in news {
            let messages = try NewsReader().read(.file(path: file.path), span: span)
            append(
                messages.rows.map {
                    MarketEvent(
                        exchange: "", symbol: "", eventTime: $0.published, knownAt: $0.knownAt,
                        payload: .message($0.message))
                }, messages.report)
        }
        if news.isEmpty { history.absent.append("news") }

        if let currency {
            if has(.optionChains, currency) {
                let chains = try chains(currency, span: earlier(KnownTimes.chainPolling))
                history.chains = chains.rows.filter { span.contains(KnownTimes.chain(snapshotTime: $0.snapshotTime)) }
                history.reports.append(chains.report)
            } else {
                history.absent.append("option chains of \(currency)")
            }
        }
        return history
    }

    /// Whether there is such a file.
    public func has(_ kind: Kind, _ symbol: String) -> Bool {
        files.contains { $0.kind == kind && $0.symbol == symbol }
    }
}

extension MarketEvent {
    /// A bar as an event: it happens and is known at its close.
    public init(bar: Bar, exchange: String, symbol: String) {
        self.init(
            exchange: exchange, symbol: symbol, eventTime: bar.closeTime, knownAt: bar.closeTime, payload: .bar(bar))
    }
}
