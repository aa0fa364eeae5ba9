internal import Kernels

/// What a model thinks of one text.
public struct SentimentResult: Sendable, Equatable {
    /// −1 (bearish) … 1 (bullish); 0 is a text that says nothing either way.
    public var score: Double
    /// Add up to 1.
    public var bearish: Double
    public var neutral: Double
    public var bullish: Double
    /// Which model answered: `lexicon-1`.
    public var model: String

    public init(score: Double, bearish: Double, neutral: Double, bullish: Double, model: String) {
        self.score = score
        self.bearish = bearish
        self.neutral = neutral
        self.bullish = bullish
        self.model = model
    }
}

/// Scores a text by the words in it, for when there is no language model: English only, and blind to irony and context.
///
/// The rules are those of VADER (Hutto, Gilbert 2014): valences of words, turned by negations and scaled by boosters
/// before them, by capitals, by "but" and by exclamation marks, and their sum squashed to [−1, 1]. The lexicon and the
/// constants are this project's. It learns nothing, so it cannot have seen the future.
public struct LexiconModel: Sendable {
    public static let name = "lexicon-1"
    /// Words behind this many are not read; a headline has twenty.
    public static let maximumWords = 2000

    /// What a negation leaves of a valence: turned, and weaker, for "not good" is less than "bad".
    private static let negated = -0.7
    private static let negationReach = 3
    private static let capitalsBonus = 0.6
    /// A trader's "but" tells what counts: before it half, behind it more.
    private static let beforeBut = 0.5
    private static let behindBut = 1.4
    private static let exclamationBonus = 0.3
    private static let maximumExclamations = 3
    /// s/√(s² + 15): one strong word gives 0.6, three 0.9.
    private static let squash = 15.0

    public init() {}

    /// Never fails: a text without known words scores 0 and is neutral. O(length).
    public func analyse(_ text: String) -> SentimentResult {
        let tokens = Self.tokens(text)
        var sum = 0.0
        var valences: [Double] = []
        var butAt: Int?
        // Capitals stress a word only in a text that is not all capitals.
        let hasLowercase = tokens.contains { !$0.isUppercase && $0.hasLetters }

        var index = 0
        while index < tokens.count {
            if tokens[index].word == "but" || tokens[index].word == "however" { butAt = valences.count }
            guard let (valence, length) = Self.match(tokens, index) else {
                index += 1
                continue
            }
            var value = valence
            if hasLowercase, tokens[index].isUppercase, tokens[index].word.count > 1 {
                value += value > 0 ? Self.capitalsBonus : -Self.capitalsBonus
            }
            for distance in 1...Self.negationReach where index >= distance {
                let before = tokens[index - distance]
                if before.endsClause { break }
                if let boost = Lexicon.boosters[before.word] {
                    // The farther, the weaker; never so weak that it changes sides.
                    value *= max(0.2, 1 + boost * (1 - 0.2 * Double(distance - 1)))
                }
                if Lexicon.negations.contains(before.word) { value *= Self.negated }
            }
            valences.append(value)
            index += length
        }
        for (place, value) in valences.enumerated() {
            guard let butAt else {
                sum += value
                continue
            }
            sum += value * (place < butAt ? Self.beforeBut : Self.behindBut)
        }
        if sum != 0 {
            var exclamations = 0
            for character in text.unicodeScalars where character == "!" && exclamations < Self.maximumExclamations {
                exclamations += 1
            }
            sum += (sum > 0 ? 1 : -1) * Self.exclamationBonus * Double(exclamations)
        }
        return Self.result(score: sum / (sum * sum + Self.squash).squareRoot())
    }

    /// Probabilities by a softmax with bullish at 6·score, bearish at −6·score and neutral at a constant that makes
    /// ±0.25 the borders. A convention, not a calibration: the labels that exist were made by other models.
    static func result(score: Double) -> SentimentResult {
        let bullish = exp(6 * score)
        let bearish = exp(-6 * score)
        let neutral = exp(6 * 0.25)
        let sum = bullish + bearish + neutral
        return SentimentResult(
            score: score, bearish: bearish / sum, neutral: neutral / sum, bullish: bullish / sum, model: name)
    }

    /// The valence of the longest phrase that starts at `index`, and its length in words.
    private static func match(_ tokens: [Token], _ index: Int) -> (valence: Double, length: Int)? {
        for length in stride(from: min(Lexicon.longestPhrase, tokens.count - index), through: 1, by: -1) {
            let slice = tokens[index..<(index + length)]
            // A phrase does not run over the end of a clause.
            guard !slice.dropLast().contains(where: \.endsClause) else { continue }
            let phrase = length == 1 ? tokens[index].word : slice.map(\.word).joined(separator: " ")
            if let valence = Lexicon.words[phrase] { return (valence, length) }
        }
        let token = tokens[index]
        if let symbol = token.symbol { return (symbol, 1) }
        // "up 5 %" and "5% down" are moves; "up" and "down" alone are mostly prepositions.
        if token.word == "up" || token.word == "down" {
            let near = tokens[max(0, index - 1)...min(tokens.count - 1, index + 1)]
            if near.contains(where: \.isPercentage) { return (token.word == "up" ? 1.8 : -1.8, 1) }
        }
        return nil
    }

    struct Token: Equatable {
        /// Lower case, without punctuation around it.
        var word: String
        var isUppercase = false
        var hasLetters = false
        var isPercentage = false
        /// A comma, full stop, … behind it: negations and phrases do not reach over.
        var endsClause = false
        /// The valence of an emoji.
        var symbol: Double?
    }

    /// Words between spaces, without links and user names; hash and currency signs are dropped from tags.
    static func tokens(_ text: String) -> [Token] {
        var tokens: [Token] = []
        for piece in text.split(whereSeparator: \.isWhitespace) {
            guard tokens.count < maximumWords else { break }
            guard !piece.hasPrefix("http://"), !piece.hasPrefix("https://"), !piece.hasPrefix("@") else { continue }
            var core = ""
            for character in piece {
                if let valence = Lexicon.symbols[character] {
                    tokens.append(Token(word: String(character), symbol: valence))
                } else {
                    core.append(character == "’" ? "'" : character)
                }
            }
            let endsClause = core.last.map { ".,;:!?)\"”".contains($0) } ?? false
            let isPercentage = core.contains("%") && core.contains { $0.isNumber }
            let word = core.drop { !$0.isLetter && !$0.isNumber }
            let last = word.lastIndex { $0.isLetter || $0.isNumber }
            guard let last else { continue }
            let trimmed = word[...last]
            let bare = trimmed.hasSuffix("'s") ? trimmed.dropLast(2) : trimmed
            let hasLetters = bare.contains { $0.isLetter }
            tokens.append(
                Token(
                    word: bare.lowercased(), isUppercase: hasLetters && !bare.contains { $0.isLowercase },
                    hasLetters: hasLetters, isPercentage: isPercentage, endsClause: endsClause))
        }
        return tokens
    }
}
