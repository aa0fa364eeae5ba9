/// Why a regime model was not fitted, read or applied.
public enum RegimeError: Error, Sendable, Equatable {
    /// The observations are not a whole number of rows of this width, or the width is not the model's.
    case shapeMismatch(count: Int, dimension: Int)
    /// NaN or infinite. Leave the row out, or advance the filter without an observation.
    case nonFiniteObservation(row: Int, feature: Int)
    /// Fewer rows than the parameters can be fitted on. Send a longer span or ask for fewer states.
    case tooFewObservations(count: Int, needed: Int)
    /// A feature that does not vary tells nothing about regimes, and its likelihood has no maximum. Leave it out.
    case constantFeature(Int)
    /// The parameters are not those of a model: `what` says which rule they break.
    case invalidModel(what: String)
    /// The bytes are not a serialised model of this version, or they are damaged.
    case notAModel
}

extension RegimeError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .shapeMismatch(let count, let dimension): "\(count) values are not rows of \(dimension) features"
        case .nonFiniteObservation(let row, let feature): "row \(row), feature \(feature) is not finite"
        case .tooFewObservations(let count, let needed): "\(count) observations, \(needed) needed"
        case .constantFeature(let feature): "feature \(feature) does not vary"
        case .invalidModel(let what): "not a model: \(what)"
        case .notAModel: "not a serialised regime model"
        }
    }
}
