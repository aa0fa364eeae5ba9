import ChildProcesses
import Foundation
import LocalStack
import MarketData
import RPC
import Testing
import VommaProto

extension Integration {
    /// What feature-service serves of what it has stored.
    @Suite(.serialized) struct FeatureTests {
        private static func blocks(
            _ fleet: Fleet, stream: String = Market.trainStream, symbol: String = Market.symbol, from: Int64, to: Int64
        ) async throws -> [FeatureBlock] {
            var blocks: [FeatureBlock] = []
            let request = GetFeaturesRequest(
                stream: stream, symbol: symbol, fromMicroseconds: from, toMicroseconds: to)
            for try await block in fleet.features.getFeatures(request, options: Fleet.patient) { blocks.append(block) }
            return blocks
        }

        @Test("GetFeatures gives the vectors that were streamed, in order, whatever the span that is asked for")
        func stored() async throws {
            let fleet = try await Fleet.shared()
            _ = try await Market.shared()
            let schema = try await fleet.features.describeSchema(DescribeSchemaRequest(), options: Fleet.patient)
            let width = schema.names.count
            var streamed: [FeatureVector] = []
            let request = StreamFeaturesRequest(stream: Market.trainStream, fromSequence: 1)
            for try await vector in fleet.features.streamFeatures(request, options: Fleet.patient) {
                if vector.symbol == Market.symbol { streamed.append(vector) }
            }
            // Bars that closed before the eighth hour was over.
            #expect(streamed.count == 8 * 60 - 1)
            #expect(schema.columns.map(\.name) == schema.names)
            let strength = try #require(schema.columns.first { $0.name == "generic.rsi_14" })
            #expect(strength.warmUp == 14 && strength.lowerBound == -1 && strength.upperBound == 1)
            #expect(strength.formula.contains("TA-Lib RSI(14)") && !strength.isLevel)

            let blocks = try await Self.blocks(fleet, from: .min, to: .max)
            var row = 0
            for block in blocks {
                #expect(block.schemaVersion == schema.schemaVersion && block.symbol == Market.symbol)
                let count = block.barTimesMicroseconds.count
                try #require(block.values.count == count * width && block.valid.count == count * ((width + 7) / 8))
                for index in 0..<count {
                    let vector = streamed[row]
                    #expect(block.barTimesMicroseconds[index] == vector.barTimeMicroseconds)
                    #expect(block.sequences[index] == vector.sequence && block.closes[index] == vector.close)
                    let values = block.values[index * width..<(index + 1) * width]
                    #expect(values.map(\.bitPattern) == vector.values.map(\.bitPattern))
                    let bytes = (width + 7) / 8
                    #expect(Array(block.valid[index * bytes..<(index + 1) * bytes]) == vector.valid)
                    row += 1
                }
            }
            #expect(row == streamed.count)

            // Half open: from a bar's close on, until another's.
            let (first, last) = (streamed[100].barTimeMicroseconds, streamed[140].barTimeMicroseconds)
            let part = try await Self.blocks(fleet, from: first, to: last)
            #expect(part.flatMap(\.barTimesMicroseconds) == streamed[100..<140].map(\.barTimeMicroseconds))
            #expect(try await Self.blocks(fleet, from: last, to: first).isEmpty)
            #expect(try await Self.blocks(fleet, symbol: "NONE", from: .min, to: .max).isEmpty)
        }

        @Test("`vomma features` exports what is stored, and judges it")
        func commands() async throws {
            let fleet = try await Fleet.shared()
            _ = try await Market.shared()
            let address = fleet.stack.address(.featureService)
            func vomma(_ arguments: String...) async throws -> (status: Int32, output: String) {
                try await ChildProcess.run(
                    Fleet.binaries + "/vomma", ["features"] + arguments,
                    environment: [ServiceName.featureService.addressVariable: "\(address.host):\(address.port)"])
            }
            let file = FileManager.default.temporaryDirectory.appending(path: "vomma-export-\(UUID().uuidString).npz")
            defer { try? FileManager.default.removeItem(at: file) }
            let (from, to) = ("\(Market.start)", "\(Market.time(hours: 2))")
            let exported = try await vomma(
                "export", "--stream", Market.trainStream, "--symbol", Market.symbol, "--from", from, "--to", to, "-o",
                file.path)
            try #require(exported.status == 0, "\(exported.output)")
            let arrays = try NumPyArchive(bytes: [UInt8](Data(contentsOf: file))).arrays
            let schema = try await fleet.features.describeSchema(DescribeSchemaRequest(), options: Fleet.patient)
            #expect(arrays["values"]?.shape == [119, schema.names.count])
            let page = file.path + ".html"
            defer { try? FileManager.default.removeItem(atPath: page) }
            let judged = try await vomma(
                "check", "--stream", Market.trainStream, "--symbol", Market.symbol, "--output", page)
            #expect(judged.status == 0 && judged.output.contains("of 479 bars; as stored"), "\(judged.output)")
            let none = try await vomma("check", "--stream", "none", "--symbol", "X", "--output", page)
            #expect(none.status == 1 && none.output.contains("no stream “none”"), "\(none.output)")
        }

        @Test("Features of a stream that does not exist are not found")
        func unknown() async throws {
            let fleet = try await Fleet.shared()
            var code: StatusCode?
            do { _ = try await Self.blocks(fleet, stream: "none", from: 0, to: 1) } catch let status as RPCStatus {
                code = status.code
            }
            #expect(code == .notFound)
        }
    }
}
