/// One statement of a batch, with its parameters.
public struct Statement: Sendable {
    public var sql: String
    public var parameters: [any PostgresEncodable]

    public init(_ sql: String, _ parameters: [any PostgresEncodable] = []) {
        self.sql = sql
        self.parameters = parameters
    }
}

/// What has come back of a pipeline, as a pure machine: which statement an answer belongs to.
struct PipelineProgress {
    /// Statements whose answers are complete.
    private(set) var answeredCount = 0
    /// The first failure; everything behind it has not run.
    private(set) var fault: ServerFault?
    /// The end of the pipeline has been reached: nothing more will come.
    private(set) var isSynchronised = false

    /// Takes one answer; `nil` ends those of one statement. `answered` gets a statement's place and the number of rows
    /// that it changed.
    mutating func take(_ answer: ServerAnswer?, _ answered: (Int, Int) -> Void) {
        switch answer {
        case nil: answeredCount += 1
        case .rows(let result): answered(answeredCount, result.affectedRowCount)
        case .failure(var failure):
            guard fault == nil else { return }
            failure.statementIndex = answeredCount
            fault = failure
        case .synchronised: isSynchronised = true
        case .copyIn, .copyOut, .empty, .aborted, .fatal: break
        }
    }
}
