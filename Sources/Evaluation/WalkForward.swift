public import Trading

/// Splits of time for training, choosing and judging, in this order and with gaps between them.
///
/// Between two spans `gap` = label horizon + feature memory bars are left out: a label at the end of the first looks
/// `labelHorizon` bars ahead (purge), a feature at the start of the second remembers `featureMemory` bars (embargo).
/// (López de Prado 2018, "Advances in Financial Machine Learning", chapter 7.)
public struct WalkForward: Sendable, Equatable {
    /// One window: rows to train on, to stop early by, and to judge by.
    public struct Fold: Sendable, Equatable {
        public var training: Range<Int>
        /// Empty where none was asked for.
        public var validation: Range<Int>
        public var test: Range<Int>

        public init(training: Range<Int>, validation: Range<Int>, test: Range<Int>) {
            self.training = training
            self.validation = validation
            self.test = test
        }
    }

    /// Rows of each part; validation may be 0.
    public var trainingCount: Int
    public var validationCount: Int
    public var testCount: Int
    public var labelHorizon: Int
    public var featureMemory: Int
    /// Training always begins with the first row, and grows; otherwise it moves along.
    public var isExpanding: Bool

    public init(
        trainingCount: Int, validationCount: Int = 0, testCount: Int, labelHorizon: Int, featureMemory: Int,
        isExpanding: Bool = false
    ) {
        self.trainingCount = trainingCount
        self.validationCount = validationCount
        self.testCount = testCount
        self.labelHorizon = labelHorizon
        self.featureMemory = featureMemory
        self.isExpanding = isExpanding
    }

    public var gap: Int { labelHorizon + featureMemory }

    /// The windows that fit into `rows`, test spans side by side without overlap; rows at the end that make no whole
    /// test span are left out. Throws `invalidConfiguration` for counts out of range and when not one window fits.
    public func folds(in rows: Range<Int>) throws(TradingError) -> [Fold] {
        guard trainingCount >= 1, testCount >= 1, validationCount >= 0, labelHorizon >= 0, featureMemory >= 0 else {
            throw .invalidConfiguration(reason: "walk-forward counts must be positive")
        }
        let lead = trainingCount + gap + (validationCount > 0 ? validationCount + gap : 0)
        var folds: [Fold] = []
        var testStart = rows.lowerBound + lead
        while testStart + testCount <= rows.upperBound {
            let validationEnd = testStart - gap
            let validationStart = validationEnd - validationCount
            let trainingEnd = validationCount > 0 ? validationStart - gap : validationEnd
            let trainingStart = isExpanding ? rows.lowerBound : trainingEnd - trainingCount
            folds.append(
                Fold(
                    training: trainingStart..<trainingEnd, validation: validationStart..<validationEnd,
                    test: testStart..<testStart + testCount))
            testStart += testCount
        }
        guard !folds.isEmpty else {
            throw .invalidConfiguration(reason: "not one window fits: \(lead + testCount) rows are needed")
        }
        return folds
    }
}
