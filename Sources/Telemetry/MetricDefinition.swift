public import CoreMetrics

/// One metric family: its name, what it means, and which labels it has. Defined once, in code, and listed in
/// docs/metrics.md.
///
/// The instruments are swift-metrics' own; a definition makes them with its name and its labels, in order.
public struct MetricDefinition: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
        /// Only ever grows. The name ends in `_total`.
        case counter
        case gauge
        /// Counts of observations up to each bound, ascending, in the unit that the name ends with.
        case histogram(bounds: [Double])
    }

    /// With the unit last, as Prometheus' conventions have it: `vomma_rpc_server_handling_seconds`.
    public let name: String
    public let kind: Kind
    public let help: String
    public let labels: [String]

    public init(_ name: String, _ kind: Kind, labels: [String] = [], _ help: String) {
        self.name = name
        self.kind = kind
        self.labels = labels
        self.help = help
    }

    /// Bounds for the time of a call or a statement: 50 µs to 10 s.
    public static let latencyBounds: [Double] = [
        0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
    ]

    public func counter(_ values: String..., in factory: any MetricsFactory) -> Counter {
        Counter(label: name, dimensions: dimensions(values, factory), factory: factory)
    }

    public func meter(_ values: String..., in factory: any MetricsFactory) -> Meter {
        Meter(label: name, dimensions: dimensions(values, factory), factory: factory)
    }

    public func timer(_ values: String..., in factory: any MetricsFactory) -> CoreMetrics.Timer {
        Timer(label: name, dimensions: dimensions(values, factory), factory: factory)
    }

    private func dimensions(_ values: [String], _ factory: any MetricsFactory) -> [(String, String)] {
        precondition(values.count == labels.count, "\(name) has the labels \(labels)")
        (factory as? MetricRegistry)?.define(self)
        return Array(zip(labels, values))
    }
}

extension CoreMetrics.Timer {
    /// Records a time; below a nanosecond it is nothing.
    public func record(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        recordNanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
