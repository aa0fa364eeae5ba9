internal import MarketData
internal import NeuralNetworks

extension FuzzTarget {
    static let files = [
        FuzzTarget(
            name: "klines",
            seeds: {
                [
                    "open_time_ms,open,high,low,close,volume\n1735689600000,1,1.5,1,1,0\n1735689660000,1,1,1,1,1e2\n",
                    "1730073600000,68021.69,68116.78,67839.9,67859.91,555.35912,1730077199999,37756129.8,1,2,3,0\n",
                ].map { Array($0.utf8) }
            }, run: { _ = try? KlineReader(interval: .minutes(1)).read(.bytes($0)) }),
        FuzzTarget(
            name: "npz",
            seeds: {
                let archive = NumPyArchive([
                    "values": .init(shape: [2, 2], [1, .nan, -0.0, 1e300]), "time_ms": .init([1, 2]),
                    "spot": .init(scalar: 3),
                ])
                let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n"
                let start: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(header.utf8.count), 0]
                return [archive.bytes(), start + Array(header.utf8) + [UInt8](repeating: 1, count: 8)]
            },
            run: { bytes in
                _ = try? NumPyArchive(bytes: bytes)
                _ = try? NumPyArchive(npy: bytes)
                _ = try? SurfaceFile(name: "BTC_iv_1.npz", bytes: bytes)
            }),
        FuzzTarget(
            name: "trades",
            seeds: {
                [
                    "trade_id,price,quantity,time_ms,is_buyer_maker\n5866398099,78738.6,0.00059,1770076800005,true\n",
                    "agg_trade_id,price,quantity,first_trade_id,last_trade_id,time_ms,is_buyer_maker,is_best_match\n"
                        + "60953854,0.00000908,3591711.00,209942017,209942017,1729987202368,False,True\n",
                ].map { Array($0.utf8) }
            }, run: { _ = try? TradeReader().read(.bytes($0)) }),
        FuzzTarget(
            name: "ticks",
            seeds: {
                [
                    "1 {\"data\":{\"e\":\"trade\",\"E\":1000,\"t\":7,\"p\":\"2.5\",\"q\":\"0.1\",\"m\":true}}\n"
                        + "2 {\"lastUpdateId\":10,\"bids\":[[\"2\",\"5\"]],\"asks\":[[\"3\",\"6\"]]}\n"
                        + "3 {\"data\":{\"e\":\"depthUpdate\",\"E\":9,\"U\":9,\"u\":11,\"b\":[[\"2.5\",\"1\"]],\"a\":[]}}\n"
                ].map { Array($0.utf8) }
            }, run: { _ = try? TickRecordingReader().read(.bytes($0), symbol: "X") }),
        FuzzTarget(
            name: "series",
            seeds: {
                [
                    "funding_time_ms,funding_rate,source\n1577836800000,-0.00012359,A\n1577865600000,-1e-4,A\n",
                    "time_ms,open_interest,open_interest_value_usdt\n1771560000000,80485.615,5419496040.188065\n",
                    "date,timestamp_s,value,classification\n2018-02-01,1517443200,30,Fear\n",
                ].map { Array($0.utf8) }
            },
            run: {
                _ = try? FundingReader().read(.bytes($0))
                _ = try? OpenInterestReader().read(.bytes($0))
                _ = try? FearGreedReader().read(.bytes($0))
            }),
        FuzzTarget(
            name: "chains",
            seeds: {
                [
                    "snapshot_ms,instrument_name,underlying_price,index_price,bid_price,ask_price,mark_price,mark_iv,"
                        + "open_interest,volume\n1767115875944,BTC-31DEC25-70000-C,88535.09,88521.65,,0.216,0.2,"
                        + "0.7742,0,0\n"
                ].map { Array($0.utf8) }
            }, run: { _ = try? ChainReader().read(.bytes($0)) }),
        FuzzTarget(
            name: "news",
            seeds: {
                [
                    "{\"id\":\"b\",\"title\":\"Up \\u00e9\\ud83d\\ude80\",\"n\":[1,-2.5e3,true,null],\"pub_date\":"
                        + "\"2026-01-08T11:06:57.000Z\"}\n",
                    "date,title,url\n2021-10-15T07:00:00Z,\"Rise, then \"\"fall\"\"\non two lines\",https://c\n",
                ].map { Array($0.utf8) }
            }, run: { _ = try? NewsReader().read(.bytes($0)) }),
        FuzzTarget(name: "safetensors", seeds: safetensorsSeeds, run: fuzzSafetensors),
    ]

    @Sendable private static func safetensorsSeeds() -> [[UInt8]] {
        [
            Safetensors(
                metadata: ["a": "b\n"],
                tensors: [
                    Tensor("w", shape: [2, 2], .float32([1, -0.0, .infinity, 4])),
                    Tensor("n", shape: [1], .int64([-1])), Tensor("b", shape: [0], .uint8([])),
                ]
            ).bytes()
        ]
    }

    /// What is read is written, and read again as the same.
    @Sendable private static func fuzzSafetensors(_ input: [UInt8]) {
        guard let file = try? Safetensors(bytes: input) else { return }
        let once = file.bytes()
        precondition((try? Safetensors(bytes: once).bytes()) == once, "written, but not read as it was")
    }
}
