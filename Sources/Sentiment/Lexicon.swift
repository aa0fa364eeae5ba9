/// What words say about a market: valences from −4 (ruin) to 4 (euphoria), judged by hand for this project as a trader
/// would read them in a headline, not as a diner in a restaurant review ("volatile" is nearly neutral, "liquidated" is
/// not).
///
/// A line is a valence and the words (or, joined by `_`, phrases of up to three words) that have it.
enum Lexicon {
    static let words = parse(marketWords + "\n" + generalWords)

    static let longestPhrase = 3

    /// Emoji count as words wherever they stand.
    static let symbols: [Character: Double] = [
        "🚀": 2.6, "🌕": 1.8, "🌙": 1.4, "📈": 2.0, "💎": 1.8, "🙌": 1.2, "🐂": 1.8, "🟢": 1.2, "🔥": 1.2, "💰": 1.2, "🤑": 1.6,
        "🎉": 1.4, "👍": 1.2, "💪": 1.2, "😀": 1.2, "😎": 1.0, "😍": 1.6, "✅": 0.8, "📉": -2.0, "🐻": -1.8, "🔴": -1.2,
        "🩸": -2.2, "💀": -2.0, "😱": -1.8, "😭": -1.6, "😡": -1.6, "😢": -1.4, "🤡": -1.6, "💩": -2.0, "👎": -1.4, "🚨": -0.8,
        "⚠️": -0.8, "🤮": -2.0, "😰": -1.4,
    ]

    /// Words that turn what follows within three words.
    static let negations: Set<String> = [
        "not", "no", "never", "none", "nobody", "nothing", "neither", "nor", "without", "cannot", "cant", "can't",
        "dont", "don't", "doesnt", "doesn't", "didnt", "didn't", "isnt", "isn't", "arent", "aren't", "wasnt",
        "wasn't", "werent", "weren't", "wont", "won't", "wouldnt", "wouldn't", "shouldnt", "shouldn't", "couldnt",
        "couldn't", "aint", "ain't", "hasnt", "hasn't", "havent", "haven't", "hardly", "barely", "rarely", "lacks",
        "lack", "denies", "despite", "fails", "failed", "unlikely", "avoids", "avoid", "avoided", "halts", "halted",
        "stops", "stopped",
    ]

    /// Words that strengthen (above 0) or weaken what follows.
    static let boosters: [String: Double] = [
        "very": 0.3, "extremely": 0.45, "hugely": 0.4, "massively": 0.45, "massive": 0.4, "huge": 0.4, "really": 0.25,
        "so": 0.2, "super": 0.35, "totally": 0.3, "absolutely": 0.4, "highly": 0.3, "sharply": 0.4, "strongly": 0.35,
        "dramatically": 0.4, "significantly": 0.3, "heavily": 0.35, "deeply": 0.3, "seriously": 0.3, "incredibly": 0.4,
        "insanely": 0.4, "major": 0.3, "record": 0.35, "historic": 0.3, "biggest": 0.3, "largest": 0.2, "further": 0.15,
        "more": 0.15, "most": 0.25, "much": 0.15, "steep": 0.3, "rapidly": 0.3, "fast": 0.15, "double-digit": 0.35,
        "slightly": -0.35, "somewhat": -0.3, "marginally": -0.4, "modestly": -0.3, "modest": -0.3, "partly": -0.25,
        "fairly": -0.1, "mildly": -0.35, "mild": -0.3, "minor": -0.35, "little": -0.3, "almost": -0.2, "nearly": -0.15,
        "kinda": -0.25, "slight": -0.35, "briefly": -0.3, "possibly": -0.3, "maybe": -0.3, "perhaps": -0.3, "may": -0.2,
        "might": -0.25, "could": -0.2, "potentially": -0.25, "less": -0.4,
    ]

    private static func parse(_ text: String) -> [String: Double] {
        var words: [String: Double] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: " ")
            guard let first = parts.first, let valence = Double(first) else { continue }
            for word in parts.dropFirst() { words[String(word).replacing("_", with: " ")] = valence }
        }
        return words
    }

    private static let marketWords = """
        3.4 skyrocket skyrockets skyrocketed skyrocketing to_the_moon all_time_high all-time_high all-time-high ath
        3.4 new_ath record_high parabolic supercycle
        3.0 moon mooning mooned moonshot soar soars soared soaring surge surges surged surging explodes_higher
        3.0 god_candle rocket rockets rocketed rocketing bull_run bullrun melt-up
        2.6 rally rallies rallied rallying rallying_higher bullish bull bulls bull_market breakout breaks_out
        2.6 broke_out golden_cross short_squeeze outperform outperforms outperformed outperforming
        2.2 jump jumps jumped jumping spike_higher climb climbs climbed climbing rebound rebounds rebounded rebounding
        2.2 recover recovers recovered recovery recovering bounce bounces bounced gain gains gained gaining gainers
        2.2 gainer uptrend upside upswing rise rises rose rising higher_high higher_highs accumulate accumulates
        2.2 accumulated accumulating accumulation hodl hodling diamond_hands wagmi lambo undervalued oversold inflow
        2.2 inflows etf_approval approved approves approval green_light rate_cut rate_cuts halving buyback buybacks
        2.2 adoption adopts adopted adopting mainstream institutional_demand legal_tender strategic_reserve surpass
        2.2 surpasses surpassed tops topped outpace outpaces dovish stimulus easing upgrade upgrades upgraded
        1.6 buy buys buying bought buyers long longs bid bids bottomed bottoming support supports supported supporting
        1.6 holds_above above_support reclaim reclaims reclaimed reclaiming advance advances advanced edges_higher
        1.6 ticks_up moves_higher higher up_trend hits_high partnership partners partnered integrates integration
        1.6 integrated launches_mainnet mainnet staking yield yields reward rewards airdrop airdrops listing listed
        1.6 lists invests invested investment investments investor_confidence raises_funding raised funding_round
        1.6 backs backed backing expands expanded expansion expanding milestone milestones growth grow grows growing
        1.6 grew boom booming booms boost boosts boosted boosting strengthens strengthened strengthening strong
        1.6 stronger strongest momentum resilient resilience profit profits profitable profitability earnings_beat
        1.6 overtakes doubles doubled triples tripled demand scarcity scarce whale_accumulation green settlement
        1.6 settles dismissed dismisses cleared
        1.0 launch launches launched unveil unveils unveiled introduces introduced enables debut debuts adds added
        1.0 stable stability stabilizes stabilizing steady steadies hedge innovation innovative license licensed
        1.0 licence compliant clarity regulatory_clarity permits allows opens liquidity institutional tailwind
        1.0 tailwinds optimism_returns acquires acquired acquisition merger secured secures
        -3.6 collapse collapses collapsed collapsing bankrupt bankruptcy insolvent insolvency implode implodes
        -3.6 imploded rug_pull rugpull rugged rug ponzi wiped_out wipeout goes_to_zero death_spiral capitulation
        -3.6 capitulates
        -3.2 crash crashes crashed crashing plunge plunges plunged plunging plummet plummets plummeted plummeting
        -3.2 bloodbath carnage meltdown freefall free_fall nosedive nosedives nosedived tank tanks tanked tanking hack
        -3.2 hacks hacked hacker hackers exploit exploited exploits exploiter heist stolen steals theft drained scam
        -3.2 scams scammed scammer scammers fraud fraudulent frauds depeg depegs depegged depegging ngmi
        -2.7 dump dumps dumped dumping bearish bear bears bear_market liquidated liquidation liquidations liquidates
        -2.7 sell-off selloff sell_off sells_off selling_off sell-offs tumble tumbles tumbled tumbling slump slumps
        -2.7 slumped slumping death_cross breakdown breaks_down dead_cat_bounce bull_trap margin_call margin_calls
        -2.7 rekt indicted indictment arrested arrest jailed sentenced convicted guilty money_laundering laundering
        -2.7 launder laundered sanctioned sanctions lawsuit lawsuits sues sued suing charged charges crackdown ban
        -2.7 bans banned banning shutdown shut_down shuts_down shutters delist delists delisted delisting default
        -2.7 defaults defaulted
        -2.2 drop drops dropped dropping fall falls fell falling fallen decline declines declined declining sink sinks
        -2.2 sank sinking slide slides slid sliding slip slips slipped slipping retreat retreats retreated lose loses
        -2.2 losing lost loss losses loser losers downtrend downside downturn plumb_new_lows lower_low lower_lows
        -2.2 all-time_low record_low outflow outflows overvalued overbought bubble paper_hands bagholder bagholders
        -2.2 bags underperform underperforms underperformed underwater recession contagion fud panic panics panicked
        -2.2 halted_withdrawals halts_withdrawals suspends_withdrawals frozen freezes freeze vulnerability vulnerable
        -2.2 breach breached attack attacks attacked attacker phishing malware ransomware darknet illicit criminal
        -2.2 crime rejects rejected rejection denied denial hawkish rate_hike rate_hikes tightening stagflation
        -1.6 sell sells selling sold sellers short shorts shorting resistance correction corrects corrected pullback
        -1.6 pulls_back dip dips dipped dipping lower edges_lower ticks_down moves_lower weak weaker weakest weakness
        -1.6 weakens weakening pressure pressured bleed bleeds bleeding red struggle struggles struggling struggled
        -1.6 stall stalls stalled investigation investigates investigated probe probes probed subpoena subpoenaed fine
        -1.6 fined fines penalty penalties violation violations violate violated complaint suspended suspends suspend
        -1.6 layoffs layoff cuts_jobs lays_off resign resigns resigned delay delays delayed postponed postpones outage
        -1.6 outages downtime congestion inflation tariffs tariff war wars unsustainable unregistered headwind
        -1.6 headwinds dilution unlocks
        -1.0 volatile volatility uncertainty uncertain caution cautious cautions risk risks risky warning warns warned
        -1.0 warn concern concerns concerned regulators scrutiny debt leverage overleveraged unlock bottleneck
        -1.0 sideways flat stagnant profit-taking profit_taking taxed taxation speculation speculative
        """

    private static let generalWords = """
        3.0 amazing awesome excellent fantastic incredible wonderful brilliant outstanding superb phenomenal
        3.0 spectacular perfect love loves loved thrilled euphoria euphoric triumph triumphs victory
        2.2 great best happy excited exciting excitement win wins won winning winner winners success successful
        2.2 successfully succeed succeeds impressive celebrate celebrates celebrated confident confidence optimistic
        2.2 optimism promising breakthrough lucrative opportunity opportunities favorable favourable thrive thrives
        2.2 thriving beautiful powerful remarkable enthusiasm enthusiastic
        1.5 good better nice positive positively benefit benefits beneficial improve improves improved improvement
        1.5 improvements improving like likes liked enjoy enjoys hope hopes hopeful hoping easy easier safe safer
        1.5 safety secure security trust trusted trusts helpful help helps helped interesting smart efficient
        1.5 effective progress popular popularity fair free freedom win-win ready solid healthy robust leading leader
        1.5 leaders praise praises praised welcome welcomes welcomed agree agrees agreement resolve resolves resolved
        1.5 relief attractive advantage advantages potential respected reliable honest proud calm fun
        -3.0 terrible horrible awful disaster disastrous catastrophe catastrophic worst devastating devastated tragedy
        -3.0 hate hates hated nightmare worthless crisis doom doomed destroyed destroys destroy ruined ruin toxic
        -2.2 bad worse fear fears feared fearful scared scary afraid terrified fail failing failure failures angry
        -2.2 anger furious outrage danger dangerous threat threats threaten threatens threatened threatening hurt
        -2.2 hurts harmful harm damage damaged damages damaging victim victims suffer suffers suffered suffering
        -2.2 trouble troubled stupid ridiculous pathetic disappoint disappoints disappointed disappointing
        -2.2 disappointment fake lie lies lied liar manipulated manipulation manipulate misleading mislead misled
        -2.2 deceptive illegal illegally
        -1.5 negative negatively problem problems problematic issue issues wrong worry worries worried worrying doubt
        -1.5 doubts doubtful skeptical sceptical skepticism criticism criticize criticizes criticized critical critics
        -1.5 blame blames blamed difficult difficulty hard harder challenge challenges challenging confusion confused
        -1.5 confusing unfortunately unfortunate sad sadly unclear unstable instability error errors bug bugs flaw
        -1.5 flaws flawed slow slower slowing slows slowdown sluggish poor poorly unable miss misses missed missing
        -1.5 dispute disputes controversy controversial conflict accuse accuses accused allegation allegations alleged
        -1.5 allegedly bored boring tired nervous anxious anxiety gloomy gloom pessimistic pessimism bleak dead dying
        -1.5 dies die
        """
}
