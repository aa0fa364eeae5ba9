import RPC
import Testing

@testable import ServiceKit

@Suite struct SettingsTests {
    @Test("values are read from VOMMA_ variables; what is not set, or set to nothing, has its default")
    func values() throws {
        var settings = Settings(environment: [
            "VOMMA_LOG_LEVEL": "debug", "VOMMA_PORT": "8080", "VOMMA_HESTON_INVERTER_SERVICE": "pricer:50053,[::1]:1",
            "VOMMA_HOST": "", "PORT": "1", "OTHER_PORT": "2",
        ])
        #expect(settings.choice("log.level", default: "info", of: ["info", "debug"], "") == "debug")
        #expect(settings.int("port", default: 1, in: 0...65_535, "") == 8080)
        #expect(
            settings.addresses("heston.inverter.service", default: nil, "")
                == [Address(host: "pricer", port: 50_053), Address(host: "::1", port: 1)])
        #expect(settings.string("host", default: "127.0.0.1", "") == "127.0.0.1")
        #expect(settings.int("lease.seconds", default: 10, in: 1...3600, "") == 10)
        try settings.validate()
    }

    @Test("every fault is found, and all are thrown as one error that names variable, value and what is allowed")
    func allFaultsAtOnce() {
        var settings = Settings(environment: [
            "VOMMA_PORT": "99999999", "VOMMA_LOG_LEVEL": "loud", "VOMMA_MARKET_GATEWAY": "a:1,nowhere",
            "VOMMA_TOKEN": "",
        ])
        // A bad value never gets through: what is handed out instead is inside its range.
        #expect(settings.int("port", default: 50_051, in: 0...65_535, "port to listen on") == 0)
        #expect(settings.choice("log.level", default: "info", of: ["info", "debug"], "least level") == "info")
        #expect(settings.addresses("market.gateway", default: nil, "the gateway") == [])
        #expect(settings.string("database.url", default: nil, "PostgreSQL", secret: true) == "")
        #expect(settings.string("token", default: nil, "a key", secret: true) == "")
        let wanted = ConfigurationError(faults: [
            "VOMMA_PORT is “99999999”, expected a whole number from 0 to 65535",
            "VOMMA_LOG_LEVEL is “loud”, expected one of info, debug",
            "VOMMA_MARKET_GATEWAY is “a:1,nowhere”, expected host:port, or several separated by commas",
            "VOMMA_DATABASE_URL is not set (PostgreSQL)",
            "VOMMA_TOKEN is not set (a key)",
        ])
        #expect(throws: wanted) { try settings.validate() }
        #expect(
            "\(wanted)".hasPrefix(
                "bad configuration: VOMMA_PORT is “99999999”, expected a whole number from 0 to 65535; VOMMA"))
    }

    @Test(
        "what is no whole number inside the range is a fault",
        arguments: ["x", "1.5", "0x10", "1e3", " 5", "5 ", "-1", "11", "9223372036854775808", "٣", "--5"])
    func badIntegers(text: String) {
        var settings = Settings(environment: ["VOMMA_N": text])
        #expect((0...10).contains(settings.int("n", default: 3, in: 0...10, "a number")))
        #expect(settings.faults == ["VOMMA_N is “\(text)”, expected a whole number from 0 to 10"])
    }

    @Test("both ends of a range belong to it", arguments: [("0", 0), ("10", 10), ("007", 7)])
    func goodIntegers(text: String, value: Int) throws {
        var settings = Settings(environment: ["VOMMA_N": text])
        #expect(settings.int("n", default: 3, in: 0...10, "") == value)
        try settings.validate()
    }

    @Test("a secret's bad value is not shown in the fault")
    func secrets() {
        var settings = Settings(environment: ["VOMMA_DATABASE_URL": "hunter2"])
        #expect(settings.string("database.url", default: nil, "PostgreSQL", secret: true) == "hunter2")
        #expect(settings.descriptions[0].isSecret)
        #expect(settings.faults.isEmpty)
    }

    @Test("each key read is described, in the order of reading, whether it was set or not")
    func descriptions() {
        var settings = Settings(environment: ["VOMMA_PORT": "17", "VOMMA_LOG_LEVEL": "loud"])
        _ = settings.int("port", default: 50_051, in: 0...65_535, "port to listen on")
        _ = settings.choice("log.level", default: "info", of: ["info"], "least level")
        _ = settings.string("database.url", default: nil, "PostgreSQL", secret: true)
        _ = settings.addresses("market.gateway", default: Address(host: "127.0.0.1", port: 50_051), "the gateway")
        #expect(
            settings.descriptions == [
                SettingDescription(
                    variable: "VOMMA_PORT", meaning: "port to listen on", defaultValue: "50051", isSecret: false),
                SettingDescription(
                    variable: "VOMMA_LOG_LEVEL", meaning: "least level", defaultValue: "info", isSecret: false),
                SettingDescription(
                    variable: "VOMMA_DATABASE_URL", meaning: "PostgreSQL", defaultValue: nil, isSecret: true),
                SettingDescription(
                    variable: "VOMMA_MARKET_GATEWAY", meaning: "the gateway", defaultValue: "127.0.0.1:50051",
                    isSecret: false),
            ])
    }

    @Test("an address is a host and a port")
    func addresses() throws {
        #expect(Address("localhost:50051") == Address(host: "localhost", port: 50_051))
        #expect(Address("10.0.0.7:1") == Address(host: "10.0.0.7", port: 1))
        #expect(Address("[::1]:65535") == Address(host: "::1", port: 65_535))
        for address in [Address(host: "gateway", port: 3), Address(host: "fe80::1", port: 50_051)] {
            #expect(Address(address.description) == address)
        }
        for text in [
            "", ":", "host", "host:", ":50051", "host:0", "host:65536", "host:-1", "host:x", "host:1 ", "::1", "[::1]",
            "[]:5", "[::1:5", "a:b:5", "host :5",
        ] {
            #expect(Address(text) == nil, "\(text)")
        }
    }
}
