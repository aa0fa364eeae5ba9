internal import MarketData

// Which modules an event reaches, and when: the checks, the waiting results, the bars.
extension FeatureEngine {
    func invalid(_ event: MarketEvent, _ reason: String) -> FeatureError {
        .invalidInput(symbol: event.symbol, eventTime: event.eventTime, reason: reason)
    }

    func check(_ bar: Bar, _ event: MarketEvent, _ route: Route) throws(FeatureError) {
        guard bar.interval == configuration.interval else {
            throw .wrongInterval(symbol: event.symbol, expected: configuration.interval, found: bar.interval)
        }
        guard bar.openTime.isPlausible else { throw invalid(event, "a bar at an impossible time") }
        guard event.knownAt >= bar.closeTime else { throw invalid(event, "a bar known before its close") }
        // Each price by name: `min` and `max` let a NaN pass.
        let isSound =
            bar.open.isFinite && bar.close.isFinite && bar.low > 0 && bar.high.isFinite
            && bar.low <= min(bar.open, bar.close) && bar.high >= max(bar.open, bar.close)
            && bar.volume >= 0 && bar.volume.isFinite
        guard isSound else { throw invalid(event, "a bar whose prices or volume cannot be") }
        if let last = route.isReference ? referenceLastOpenTime : nil, bar.openTime <= last {
            throw .barOutOfOrder(symbol: event.symbol, openTime: bar.openTime, last: last)
        }
        if let track = route.own.first, let last = tracks[track].lastOpenTime, bar.openTime <= last {
            throw .barOutOfOrder(symbol: event.symbol, openTime: bar.openTime, last: last)
        }
    }

    /// Moves the clock and hands out what has waited for it, in the order of `knownAt`, then of arrival.
    mutating func advance(to now: Timestamp) {
        clock = now
        while let first = waiting.first, first.knownAt <= now {
            waiting.removeFirst()
            hand(first)
        }
    }

    mutating func applyOrWait(_ input: WaitingInput) throws(FeatureError) {
        if input.knownAt <= clock { return hand(input) }
        guard waiting.count < Self.maximumPendingInputs else {
            throw .tooManyPendingInputs(limit: Self.maximumPendingInputs)
        }
        let place = waiting.lastIndex { $0.knownAt <= input.knownAt }.map { $0 + 1 } ?? 0
        waiting.insert(input, at: place)
    }

    mutating func hand(_ input: WaitingInput) {
        switch input {
        case .fit(let fit):
            guard let route = routes[fit.symbol] else { return }
            for track in route.optionsOf { observe(.fit(fit), fit.eventTime, fit.knownAt, track: track) }
            if route.isReferenceOptions { observeShared(.fit(fit), fit.eventTime, fit.knownAt) }
        case .sentiment(let score):
            guard seenScores.insert(score.source, score.messageID) else { return }
            let receivers = score.symbol.isEmpty ? Array(tracks.indices) : routes[score.symbol]?.own ?? []
            for track in receivers { observe(.sentiment(score.score), score.eventTime, score.knownAt, track: track) }
        }
    }

    mutating func observe(_ input: FeatureInput, _ eventTime: Timestamp, _ knownAt: Timestamp, track: Int) {
        for index in tracks[track].modules.indices {
            tracks[track].modules[index].observe(input, eventTime: eventTime, knownAt: knownAt)
        }
    }

    mutating func observeShared(_ input: FeatureInput, _ eventTime: Timestamp, _ knownAt: Timestamp) {
        for index in shared.indices { shared[index].observe(input, eventTime: eventTime, knownAt: knownAt) }
    }

    mutating func deliver(_ input: FeatureInput, _ event: MarketEvent, to receivers: [Int], shared: Bool) {
        for track in receivers { observe(input, event.eventTime, event.knownAt, track: track) }
        if shared { observeShared(input, event.eventTime, event.knownAt) }
    }

    /// What concerns a coin under its own or its perpetual's name.
    mutating func deliver(_ input: FeatureInput, _ event: MarketEvent, of route: Route?) {
        guard let route else { return }
        deliver(input, event, to: route.own, shared: route.isReference || route.isReferencePerpetual)
        for track in route.perpetualOf where !route.own.contains(track) {
            observe(input, event.eventTime, event.knownAt, track: track)
        }
    }

    func isAfterGap(_ last: Timestamp?, _ bar: Bar) -> Bool {
        guard let last else { return false }
        let missing = (bar.openTime - last).microseconds / bar.interval.microseconds - 1
        return missing > Int64(configuration.maximumGapBars)
    }

    mutating func take(_ bar: Bar, _ event: MarketEvent, _ route: Route, _ now: Timestamp) -> ClosedBar? {
        if route.isReference { takeReference(bar, event) }
        if route.isReferencePerpetual { observeShared(.perpetualBar(bar), event.eventTime, event.knownAt) }
        for track in route.perpetualOf { observe(.perpetualBar(bar), event.eventTime, event.knownAt, track: track) }
        guard let track = route.own.first else { return nil }
        if isAfterGap(tracks[track].lastOpenTime, bar) {
            observe(.restart, event.eventTime, event.knownAt, track: track)
            tracks[track].observer = RegimeObserver()
        }
        tracks[track].lastOpenTime = bar.openTime
        observe(.bar(bar), event.eventTime, event.knownAt, track: track)
        let observation = tracks[track].observer.update(bar)
        let isWarm = tracks[track].observer.isWarm
        let absence: Absence = observation != nil ? .missingInput : isWarm ? .undefined : .warmUp
        tracks[track].issued += 1
        return ClosedBar(
            track: track, ticket: tracks[track].issued, bar: bar, now: now, observation: observation,
            absence: absence)
    }

    mutating func takeReference(_ bar: Bar, _ event: MarketEvent) {
        let isAfterGap = isAfterGap(referenceLastOpenTime, bar)
        referenceLastOpenTime = bar.openTime
        if isAfterGap { observeShared(.restart, event.eventTime, event.knownAt) }
        observeShared(.bar(bar), event.eventTime, event.knownAt)
        for track in tracks.indices {
            if isAfterGap { observe(.referenceRestart, event.eventTime, event.knownAt, track: track) }
            observe(.referenceBar(bar), event.eventTime, event.knownAt, track: track)
        }
    }

    mutating func vector(track: Int, bar: Bar, sequence: UInt64, now: Timestamp) -> FeatureVector {
        var vector = FeatureVector(
            symbol: tracks[track].symbol, barTime: bar.closeTime, knownAt: now, sequence: sequence, close: bar.close,
            schemaVersion: schema.version, values: [Double](repeating: .nan, count: schema.count),
            absences: [Absence?](repeating: .missingInput, count: schema.count))
        write(track: track, now: now, row: 0, &vector.values, &vector.absences)
        return vector
    }

    /// Writes every column that waits for nobody to a row.
    mutating func write(track: Int, now: Timestamp, row: Int, _ values: inout [Double], _ absences: inout [Absence?]) {
        FeatureSink.withRow(at: row, of: &values, &absences, places: places, names: schema.names) { sink in
            var (ownIndex, sharedIndex) = (0, 0)
            for (index, kind) in configuration.modules.enumerated() {
                sink.begin(at: offsets[index])
                if kind.isShared {
                    Self.write(&shared, sharedIndex, now, &sink)
                    sharedIndex += 1
                } else {
                    if !kind.isDeferred { Self.write(&tracks[track].modules, ownIndex, now, &sink) }
                    ownIndex += 1
                }
            }
        }
    }

    /// In place: a module is large.
    private static func write(
        _ modules: inout [any FeatureModule], _ index: Int, _ now: Timestamp, _ sink: inout FeatureSink
    ) { modules[index].write(at: now, to: &sink) }
}
