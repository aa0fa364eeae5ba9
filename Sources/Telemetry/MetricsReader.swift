internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// One line of an exposition.
public struct MetricSample: Sendable, Hashable {
    /// With the suffix of a histogram's lines: `…_bucket`, `…_sum`, `…_count`.
    public var name: String
    public var labels: [String: String]
    public var value: Double
}

/// Why a process's metrics could not be read.
public enum MetricsReadError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Nobody answers, or not in time.
    case unreachable(reason: String)
    /// Somebody answers, who serves no metrics.
    case refused(status: Int)
    /// The answer is not Prometheus' text format.
    case malformed(line: String)

    public var description: String {
        switch self {
        case .unreachable(let reason): "no metrics: \(reason)"
        case .refused(let status): "no metrics: HTTP status \(status)"
        case .malformed(let line): "not Prometheus' text format: “\(line)”"
        }
    }
}

/// Reads what `MetricsServer` serves.
public enum MetricsReader {
    private static let longestAnswer = 64 << 20
    private static let patience = TimeAmount.seconds(3)

    /// All samples of a process.
    public static func read(host: String, port: Int) async throws(MetricsReadError) -> [MetricSample] {
        let (status, text) = try await get(host: host, port: port)
        guard status == 200 else { throw .refused(status: status) }
        return try parse(text)
    }

    private static func get(host: String, port: Int) async throws(MetricsReadError) -> (Int, String) {
        let loop = MultiThreadedEventLoopGroup.singleton.any()
        let answer = loop.makePromise(of: (Int, String).self)
        do {
            let channel = try await ClientBootstrap(group: loop)
                .connectTimeout(patience)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let pipeline = channel.pipeline.syncOperations
                        try pipeline.addHTTPClientHandlers()
                        try pipeline.addHandler(
                            NIOHTTPClientResponseAggregator(maxContentLength: longestAnswer))
                        try pipeline.addHandler(AnswerHandler(answer))
                    }
                }
                .connect(host: host, port: port).get()
            let timer = loop.scheduleTask(in: patience) { channel.close(promise: nil) }
            var head = HTTPRequestHead(version: .http1_1, method: .GET, uri: "/metrics")
            head.headers = ["host": "\(host):\(port)", "connection": "close"]
            channel.write(HTTPClientRequestPart.head(head), promise: nil)
            channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
            defer { timer.cancel() }
            return try await answer.futureResult.get()
        } catch {
            answer.fail(error)
            throw .unreachable(reason: "\(error)")
        }
    }

    /// Reads Prometheus' text format 0.0.4. Comments are passed over.
    public static func parse(_ text: String) throws(MetricsReadError) -> [MetricSample] {
        var samples: [MetricSample] = []
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let sample = sample(line) else { throw .malformed(line: String(line)) }
            samples.append(sample)
        }
        return samples
    }

    /// `name{key="value",…} number`; no timestamp, as we write none.
    private static func sample(_ line: Substring) -> MetricSample? {
        var rest = line
        func take(while isWanted: (Character) -> Bool) -> String {
            let taken = rest.prefix(while: isWanted)
            rest = rest[taken.endIndex...]
            return String(taken)
        }
        func isNamed(_ character: Character) -> Bool {
            character.isASCII && (character.isLetter || character.isNumber || character == "_" || character == ":")
        }
        let name = take(while: isNamed)
        var labels: [String: String] = [:]
        if rest.first == "{" {
            rest.removeFirst()
            while rest.first != "}" {
                let key = take(while: isNamed)
                guard !key.isEmpty, rest.hasPrefix("=\""), labels[key] == nil else { return nil }
                rest.removeFirst(2)
                var value = ""
                while let character = rest.popFirst(), character != "\"" {
                    guard character == "\\" else {
                        value.append(character)
                        continue
                    }
                    switch rest.popFirst() {
                    case "n": value.append("\n")
                    case .some(let escaped) where escaped == "\\" || escaped == "\"": value.append(escaped)
                    default: return nil
                    }
                }
                labels[key] = value
                if rest.first == "," { rest.removeFirst() } else if rest.first != "}" { return nil }
            }
            rest.removeFirst()
        }
        guard !name.isEmpty, rest.popFirst() == " ", let value = number(rest) else { return nil }
        return MetricSample(name: name, labels: labels, value: value)
    }

    private static func number(_ text: Substring) -> Double? {
        switch text {
        case "NaN": .nan
        case "+Inf": .infinity
        case "-Inf": -.infinity
        default: Double(text)
        }
    }
}

/// Waits for the one answer.
private final class AnswerHandler: ChannelInboundHandler {
    typealias InboundIn = NIOHTTPClientResponseFull
    private let answer: EventLoopPromise<(Int, String)>

    init(_ answer: EventLoopPromise<(Int, String)>) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let response = unwrapInboundIn(data)
        answer.succeed((Int(response.head.status.code), response.body.map { String(buffer: $0) } ?? ""))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        answer.fail(ChannelError.inputClosed)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        answer.fail(error)
        context.close(promise: nil)
    }
}
