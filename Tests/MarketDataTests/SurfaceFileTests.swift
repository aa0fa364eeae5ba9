import Kernels
import MarketData
import Testing

@Suite struct SurfaceFileTests {
    private let file = SurfaceFile(
        currency: "BTC", time: Timestamp(seconds: 1_767_225_600),
        surface: ImpliedVolatilitySurface(
            logMoneyness: [-0.2, 0, 0.2], tau: [0.1, 1], impliedVolatility: [0.6, 0.55, .nan, 0.5, 0.52, 0.53],
            cells: [.observed, .interpolated, .missing, .extrapolated, .stale, .observed], spot: 90_000,
            forwards: [90_100, 91_000], method: "svi"))

    @Test func aSurfaceComesBackFromItsFile() throws {
        #expect(file.name == "BTC_iv_1767225600.npz")
        let read = try SurfaceFile(name: "/tmp/\(file.name)", bytes: file.bytes())
        #expect(read.currency == "BTC" && read.time == file.time)
        #expect(read.surface.logMoneyness == file.surface.logMoneyness && read.surface.tau == file.surface.tau)
        #expect(read.surface.cells == file.surface.cells && read.surface.forwards == file.surface.forwards)
        #expect(read.surface[0, 1] == 0.55 && read.surface[1, 0] == nil && read.surface.spot == 90_000)
    }

    @Test func whatIsWrongIsNamed() throws {
        func fault(_ change: (inout NumPyArchive) -> Void) throws -> String {
            var arrays = try NumPyArchive(bytes: file.bytes())
            change(&arrays)
            do {
                _ = try SurfaceFile(name: "f", bytes: arrays.bytes())
                return ""
            } catch { return "\(error)" }
        }
        #expect(try fault { _ in } == "")
        #expect(try fault { $0.arrays["spot"] = nil } == "f: has no array spot")
        #expect(try fault { $0.arrays["spot"] = .init(scalar: -1) } == "f: spot is -1.0")
        #expect(try fault { $0.arrays["k_grid"] = .init([0, 0, 1]) } == "f: k_grid does not increase")
        #expect(try fault { $0.arrays["t_grid"] = .init([0, 1]) } == "f: t_grid does not increase")
        #expect(try fault { $0.arrays["t_grid"] = .init([1]) } == "f: iv_surface is [3, 2], not [3, 1]")
        #expect(try fault { $0.arrays["iv_surface"]?.values[4] = -3 } == "f: iv_surface has -3.0 in cell 4")
        #expect(try fault { $0.arrays["cells"]?.values[4] = 9 } == "f: cells has 9.0 in cell 4")
        #expect(try fault { $0.arrays["timestamp"] = .init([1, 2]) } == "f: timestamp is no number")
    }

    @Test func damageNeverTraps() throws {
        let bytes = file.bytes()
        var random = RandomGenerator(seed: 1)
        for _ in 0..<5000 {
            var damaged = bytes
            for _ in 0..<3 { damaged[random.index(below: bytes.count)] = UInt8(truncatingIfNeeded: random.next()) }
            _ = try? SurfaceFile(name: "f", bytes: damaged)
        }
        // Without the archive's checksums: the arrays' own headers.
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n"
        for _ in 0..<5000 {
            var text = Array(header.utf8)
            for _ in 0..<2 { text[random.index(below: text.count)] = UInt8(random.index(below: 128)) }
            let start: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(text.count), 0]
            let npy = start + text + [UInt8](repeating: 1, count: 16)
            _ = try? NumPyArchive(npy: npy)
        }
    }
}
