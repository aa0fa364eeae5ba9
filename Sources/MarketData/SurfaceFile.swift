/// A volatility surface as a file of NumPy arrays, `<currency>_iv_<timestamp>.npz`: `iv_surface` [NK, NT] (absolute,
/// NaN where a cell is missing), `k_grid` [NK] (ln(K/F)), `t_grid` [NT] (years), `spot`, `timestamp` (Unix seconds).
/// Written besides, and read where they are: `forwards` [NT] and `cells` [NK, NT], the kinds of cells by their numbers.
public struct SurfaceFile: Sendable, Equatable {
    /// `BTC`; of the file's name, not in the file.
    public var currency: String
    public var time: Timestamp
    public var surface: ImpliedVolatilitySurface

    public init(currency: String, time: Timestamp, surface: ImpliedVolatilitySurface) {
        self.currency = currency
        self.time = time
        self.surface = surface
    }

    /// `BTC_iv_1767225600.npz`.
    public var name: String { "\(currency)_iv_\(time.microseconds / 1_000_000).npz" }

    public func bytes() -> [UInt8] {
        let shape = [surface.logMoneyness.count, surface.tau.count]
        return NumPyArchive([
            "iv_surface": .init(shape: shape, surface.impliedVolatility), "k_grid": .init(surface.logMoneyness),
            "t_grid": .init(surface.tau), "spot": .init(scalar: surface.spot), "timestamp": .init(scalar: time.seconds),
            "forwards": .init(surface.forwards),
            "cells": .init(shape: shape, surface.cells.map { Double($0.rawValue) }),
        ]).bytes()
    }

    /// Reads a file of this name. Throws `malformedFile`. Cells that are NaN are missing; where the file says nothing
    /// else, all others are observed, and forwards are the spot.
    public init(name: String, bytes: [UInt8]) throws(MarketDataError) {
        let archive = try NumPyArchive(bytes: bytes)
        func malformed(_ reason: String) -> MarketDataError { .malformedFile(reason: "\(name): \(reason)") }
        func array(_ key: String) throws(MarketDataError) -> NumPyArchive.Array {
            guard let array = archive.arrays[key] else { throw malformed("has no array \(key)") }
            return array
        }
        func number(_ key: String) throws(MarketDataError) -> Double {
            let array = try array(key)
            guard array.values.count == 1, array.values[0].isFinite else { throw malformed("\(key) is no number") }
            return array.values[0]
        }
        func axis(_ key: String, above least: Double) throws(MarketDataError) -> [Double] {
            let values = try array(key).values
            guard !values.isEmpty, values.allSatisfy(\.isFinite), zip([least] + values, values).allSatisfy({ $0 < $1 })
            else { throw malformed("\(key) does not increase") }
            return values
        }
        let k = try axis("k_grid", above: -.infinity)
        let tau = try axis("t_grid", above: 0)
        let volatility = try array("iv_surface")
        guard volatility.shape == [k.count, tau.count] else {
            throw malformed("iv_surface is \(volatility.shape), not \([k.count, tau.count])")
        }
        if let bad = volatility.values.firstIndex(where: { !$0.isNaN && !($0 > 0 && $0 <= 20) }) {
            throw malformed("iv_surface has \(volatility.values[bad]) in cell \(bad)")
        }
        let (spot, seconds) = (try number("spot"), try number("timestamp"))
        guard spot > 0 else { throw malformed("spot is \(spot)") }
        guard abs(seconds) < 1e11 else { throw malformed("timestamp is \(seconds)") }
        var cells = volatility.values.map { $0.isNaN ? ImpliedVolatilitySurface.Cell.missing : .observed }
        if let kinds = archive.arrays["cells"]?.values {
            guard kinds.count == cells.count else { throw malformed("cells are \(kinds.count)") }
            for index in cells.indices where cells[index] != .missing {
                guard let kind = UInt8(exactly: kinds[index]).flatMap(ImpliedVolatilitySurface.Cell.init(rawValue:)),
                    kind != .missing
                else { throw malformed("cells has \(kinds[index]) in cell \(index)") }
                cells[index] = kind
            }
        }
        var forwards = [Double](repeating: spot, count: tau.count)
        if let given = archive.arrays["forwards"]?.values {
            guard given.count == tau.count, given.allSatisfy({ $0 > 0 && $0.isFinite }) else {
                throw malformed("forwards are none")
            }
            forwards = given
        }
        let file = name.split(separator: "/").last ?? ""
        self.init(
            currency: file.split(separator: "_").first.map(String.init) ?? "", time: Timestamp(seconds: Int64(seconds)),
            surface: ImpliedVolatilitySurface(
                logMoneyness: k, tau: tau, impliedVolatility: volatility.values, cells: cells, spot: spot,
                forwards: forwards, method: "file"))
    }
}
