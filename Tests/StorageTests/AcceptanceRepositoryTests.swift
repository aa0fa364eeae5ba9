import MarketData
import TestKit
import Testing

@testable import Storage

/// Trials, reads of final blocks, verdicts, and the ledger of promotions.
@Suite struct AcceptanceRepositoryTests {
    private static let start = Timestamp(seconds: 1_767_225_600)

    private func block(_ from: Int64, _ to: Int64, symbol: String = "A") -> AcceptanceRepository.Block {
        .init(exchange: "x", symbol: symbol, from: Self.start + .days(from), to: Self.start + .days(to))
    }

    private func job(_ key: String, on connection: isolated Connection) throws(StorageError) -> Int64 {
        try JobRepository.enqueue(key: key, kind: "accept", spec: "{}", on: connection)
    }

    /// Versions 1 … `count` of a model.
    private func register(_ count: Int, on connection: isolated Connection) throws(StorageError) {
        for index in 0..<count {
            _ = try ModelRepository.register(
                name: "policy", kind: "policy.ppo", checkpoint: [UInt8(index)], on: connection)
        }
    }

    @Test("trials are counted once, of one model and symbol, with the variance of their Sharpe ratios")
    func trials() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        try await pool.withConnection { connection in
            let (first, second) = (try job("1", on: connection), try job("2", on: connection))
            let trials = [
                AcceptanceRepository.Trial(name: "a", sharpe: 0.1, netReturn: 0.01),
                .init(name: "b", sharpe: 0.3, netReturn: -0.01), .init(name: "c", sharpe: nil, netReturn: 0),
            ]
            for _ in 0..<2 {
                try AcceptanceRepository.record(trials, of: "policy", on: block(0, 1), jobID: first, on: connection)
            }
            try AcceptanceRepository.record(
                [trials[0]], of: "policy", on: block(0, 1, symbol: "B"), jobID: second, on: connection)
            let found = try AcceptanceRepository.trials(of: "policy", symbol: "A", on: connection)
            #expect(found.count == 3 && abs((found.sharpeVariance ?? 0) - 0.02) < 1e-15)
            let other = try AcceptanceRepository.trials(of: "policy", symbol: "B", on: connection)
            #expect(other.count == 1 && other.sharpeVariance == nil)
            #expect(try AcceptanceRepository.trials(of: "else", symbol: "A", on: connection).count == 0)
        }
        await pool.close()
    }

    @Test("whoever reads a final block is told how many have read bars of it before")
    func reads() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        try await pool.withConnection { connection in
            try register(2, on: connection)
            // One that ends where another begins has no bar of it; a job is counted once.
            let reads: [(job: String, block: AcceptanceRepository.Block, version: Int64, earlier: Int)] = [
                ("1", block(0, 10), 1, 0), ("1", block(0, 10), 1, 0), ("2", block(10, 20), 1, 0),
                ("3", block(9, 12), 2, 2), ("4", block(0, 10, symbol: "B"), 2, 0),
            ]
            for read in reads {
                let id = try job(read.job, on: connection)
                let earlier = try AcceptanceRepository.countRead(
                    read.block, by: id, of: "policy", version: read.version, on: connection)
                #expect(earlier == read.earlier, "job \(read.job)")
            }
        }
        await pool.close()
    }

    @Test("what passes becomes accepted, and no verdict is ever changed") func verdicts() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        try await pool.withConnection { connection in
            try register(2, on: connection)
            for (version, passed) in [(Int64(1), false), (2, true)] {
                let id = try job("\(version)", on: connection)
                _ = try AcceptanceRepository.countRead(
                    block(0, 10), by: id, of: "policy", version: version, on: connection)
                try AcceptanceRepository.store(
                    passed: passed, report: "{\"n\": 1}", of: "policy", version: version, jobID: id, on: connection)
            }
            #expect(try ModelRepository.models("policy", on: connection).map(\.stage) == [.accepted, .candidate])
            let found = try AcceptanceRepository.acceptances(of: "policy", version: 2, on: connection)
            #expect(found.map(\.passed) == [true] && found[0].report.text.contains("\"n\": 1"))
            for table in ["acceptances", "final_block_reads"] {
                for change in ["UPDATE \(table) SET version = 1", "DELETE FROM \(table)", "TRUNCATE \(table) CASCADE"] {
                    #expect(throws: StorageError.self, "\(change)") { try connection.execute(change) }
                }
            }
        }
        await pool.close()
    }

    @Test("the ledger tells every promotion; rolling back goes step by step to what was live before")
    func ledger() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        try await pool.withConnection { connection in
            try register(3, on: connection)
            #expect(try ModelRepository.rollBack("policy", on: connection) == nil)
            for version in [Int64(1), 2, 2, 3] {
                try ModelRepository.promote("policy", version: version, reason: "because \(version)", on: connection)
            }
            #expect(try ModelRepository.rollBack("policy", reason: "worse", on: connection)?.version == 2)
            #expect(try ModelRepository.rollBack("policy", on: connection)?.version == 1)
            #expect(try ModelRepository.rollBack("policy", on: connection) == nil)
            try ModelRepository.promote("policy", version: 3, on: connection)
            #expect(try ModelRepository.rollBack("policy", on: connection)?.version == 1)
            #expect(try ModelRepository.models("policy", on: connection).map(\.stage) == [.retired, .retired, .live])
            let lines = try ModelRepository.promotions(of: "policy", on: connection)
            #expect(lines.map(\.version) == [1, 2, 3, 2, 1, 3, 1])
            #expect(lines.map(\.previousVersion) == [nil, 1, 2, 3, 2, 1, 3])
            #expect(
                lines.map(\.action)
                    == [.promote, .promote, .promote, .rollback, .rollback, .promote, .rollback])
            #expect(lines[0].reason == "because 1" && lines[3].reason == "worse")
            #expect(lines.allSatisfy { !$0.isAccepted })
            for change in ["UPDATE promotions SET version = 1", "DELETE FROM promotions", "TRUNCATE promotions"] {
                #expect(throws: StorageError.self, "\(change)") { try connection.execute(change) }
            }
        }
        await pool.close()
    }
}
