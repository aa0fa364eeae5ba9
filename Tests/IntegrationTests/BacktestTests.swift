import ChildProcesses
import Foundation
import LocalStack
import MarketData
import RPC
import ServiceKit
import Storage
import Testing

extension Integration {
    /// `vomma backtest` beside the account that traded the same span on paper.
    @Suite(.serialized) struct BacktestTests {
        private struct Answer: Decodable {
            struct Fill: Decodable {
                var order_id: String
                var time_microseconds: Int64
                var side: String
                var price: String
                var quantity: String
                var fee: String
            }
            var fills: [Fill]
            var targets: [[Double]]
        }

        private static func vomma(
            _ fleet: Fleet, _ arguments: [String]
        ) async throws -> (status: Int32, output: String) {
            let address = fleet.stack.address(.trainer)
            return try await ChildProcess.run(
                Fleet.binaries + "/vomma", arguments,
                environment: [ServiceName.trainer.addressVariable: "\(address.host):\(address.port)"])
        }

        @Test("A question whose job has failed is asked again as a job of its own")
        func again() async throws {
            let fleet = try await Fleet.shared()
            let market = try await Market.shared()
            func ask() async throws -> (status: Int32, output: String) {
                try await Self.vomma(fleet, [
                    "backtest", "--model", "policy:\(market.policyVersion)", "--stream", "nowhere", "--symbol",
                    Market.symbol, "--from", "\(Market.time(hours: 13))", "--to", "\(Market.time(hours: 24))",
                ])
            }
            for _ in 0..<2 {
                let ran = try await ask()
                #expect(ran.status != 0 && ran.output.contains("the backtest job failed"), "\(ran.output)")
            }
            let jobs = try await fleet.pool.withConnection { connection in
                try connection.query(
                    "SELECT job_key, state FROM jobs WHERE spec->>'stream' = 'nowhere' ORDER BY job_id"
                ) { (row) throws(StorageError) in [try row.get(0, as: String.self), try row.get(1, as: String.self)] }
            }
            try #require(jobs.count == 2)
            #expect(jobs[1][0] == jobs[0][0] + ".2" && jobs.allSatisfy { $0[1] == "failed" })
        }

        @Test("The same span through vomma backtest and through the running stack: decisions, orders and fills are one")
        func paper() async throws {
            let fleet = try await Fleet.shared()
            let market = try await Market.shared()
            _ = try await RecoveryTests.reference.value
            let file = FileManager.default.temporaryDirectory.appending(path: "vomma-backtest-\(UUID().uuidString)")
            defer {
                for suffix in [".json", ".html"] { try? FileManager.default.removeItem(atPath: file.path + suffix) }
            }
            let ran = try await Self.vomma(fleet, [
                "backtest", "--model", "policy:\(market.policyVersion)", "--stream", "undisturbed", "--symbol",
                Market.symbol, "--from", "\(Market.time(hours: 13))", "--to", "\(Market.time(hours: 24) + .minutes(1))",
                "--capital", "3000", "--json", file.path + ".json", "--html", file.path + ".html",
            ])
            try #require(ran.status == 0, "\(ran.output)")
            #expect(ran.output.contains("Beside the baselines") && ran.output.contains("Month by month"))
            let page = try String(contentsOfFile: file.path + ".html", encoding: .utf8)
            #expect(page.contains("Price and fills") && page.contains("Drawdown"))
            let json = try Data(contentsOf: URL(fileURLWithPath: file.path + ".json"))
            let answer = try JSONDecoder().decode(Answer.self, from: json)

            let stored = try await fleet.pool.withConnection { connection in
                (
                    fills: try connection.query(
                        """
                        SELECT client_order_id, event_time, side, price::text, quantity::text, fee::text FROM fills
                        WHERE account = 'undisturbed' ORDER BY event_time
                        """
                    ) { (row) throws(StorageError) in
                        [
                            try row.get(0), "\(try row.get(1, as: Timestamp.self).microseconds)", try row.get(2),
                            try row.get(3), try row.get(4), try row.get(5),
                        ] as [String]
                    },
                    orders: try connection.query(
                        "SELECT client_order_id FROM orders WHERE account = 'undisturbed' AND state = 'filled'"
                    ) { (row) throws(StorageError) in try row.get(0, as: String.self) },
                    decisions: try connection.query(
                        """
                        SELECT bar_time, target_exposure FROM decisions
                        WHERE stream = 'undisturbed' AND target_exposure IS NOT NULL ORDER BY bar_time
                        """
                    ) { (row) throws(StorageError) in
                        [Double(try row.get(0, as: Timestamp.self).microseconds), try row.get(1, as: Double.self)]
                    }
                )
            }
            // The backtest does not decide at its last close, which nothing follows.
            #expect(answer.targets == Array(stored.decisions.prefix(answer.targets.count)))
            #expect(stored.decisions.count - answer.targets.count <= 1 && answer.targets.count > 600)
            func number(_ text: String) -> String { Decimal(string: text).map { "\($0)" } ?? text }
            let fills = answer.fills.map {
                [
                    $0.order_id, "\($0.time_microseconds)", $0.side, number($0.price), number($0.quantity),
                    number($0.fee),
                ]
            }
            #expect(fills == stored.fills.map { $0.prefix(3) + $0.dropFirst(3).map(number) } && fills.count > 100)
            #expect(Set(fills.map { $0[0] }) == Set(stored.orders))
        }
    }
}
