internal import Dispatch
internal import Foundation
internal import Heston
internal import HestonInverse

// The inverse network's side of the benchmark.

/// `network train PRESET FILE`, `network judge PRESET FILE COUNT`, `network time FILE`, `network steps FILE`,
/// `network answers FILE COUNT`.
func network(_ arguments: [String]) throws {
    switch arguments[0] {
    case "train": try train(try preset(arguments[1]), arguments[2])
    case "judge": try judge(try preset(arguments[1]), try load(arguments[2]), Int(arguments[3]) ?? 20_000)
    case "time": try time(try load(arguments[1]))
    case "steps": try steps(try load(arguments[1]))
    case "answers": try answers(try load(arguments[1]), Int(arguments[2]) ?? 10)
    default: throw UsageError(description: "no such job: \(arguments[0])")
    }
}

private func load(_ path: String) throws -> InverseModel {
    try InverseModel(safetensors: [UInt8](Data(contentsOf: URL(fileURLWithPath: path))))
}

private let threads = ProcessInfo.processInfo.activeProcessorCount

/// The default training, on all processors; says how long it took.
private func train(_ preset: ParameterPreset, _ path: String) throws {
    let start = DispatchTime.now().uptimeNanoseconds
    let data = try SurfaceGenerator(preset, seed: 1).surfaces(count: 100_000, threads: threads)
    let made = DispatchTime.now().uptimeNanoseconds
    var training = InverseTraining(data)
    while !training.isFinished {
        try training.runEpoch(threads: threads)
        let epoch = training.epochs[training.epochs.count - 1]
        FileHandle.standardError.write(
            Data("\(preset.rawValue): epoch \(epoch.number), loss \(epoch.loss)\n".utf8))
    }
    let model = training.model(metadata: ["preset": preset.rawValue, "seed": "1"])
    try Data(model.safetensors()).write(to: URL(fileURLWithPath: path))
    let end = DispatchTime.now().uptimeNanoseconds
    print(
        "{\"surfaces\": \(data.count), \"making\": \(Double(made - start) / 1e9), \"training\": "
            + "\(Double(end - made) / 1e9), \"epochs\": \(training.epochs.count)}")
}

/// On surfaces of another seed than the training's.
private func judge(_ preset: ParameterPreset, _ model: InverseModel, _ count: Int) throws {
    let data = try SurfaceGenerator(preset, seed: 20_261_126).surfaces(count: count, threads: threads)
    let quality = try model.quality(on: data, try Calibrator(), threads: threads)
    print(String(decoding: try JSONEncoder().encode(quality), as: UTF8.self))
}

/// Latencies on one thread: volatilities in, parameters out.
private func time(_ model: InverseModel) throws {
    let preset = try preset(model.metadata["preset"] ?? "")
    let data = try SurfaceGenerator(preset, seed: 3).surfaces(count: 256)
    let cells = model.grid.count
    var surfaces: [[Double]] = []
    for row in 0..<data.count { surfaces.append(Array(data.volatilities[row * cells..<(row + 1) * cells])) }
    var one = Inverter(model)
    let raw = median(201, calls: 1) {
        for surface in surfaces { one.invert(surface, surface: false) }
    }
    let calibrator = try Calibrator()
    var each: [Double] = []
    for _ in 0..<5 {
        for surface in surfaces {
            let start = DispatchTime.now().uptimeNanoseconds
            one.invert(surface, surface: false)
            _ = try calibrator.calibrate(model.grid.quotes(surface), warmStart: one.parameters[0])
            each.append(Double(DispatchTime.now().uptimeNanoseconds - start))
        }
    }
    var many = Inverter(model, capacity: 256)
    let batch = median(51, calls: 1) { many.invert(data.volatilities, count: 256, surface: false) }
    print(
        "{\"raw\": \(raw / Double(surfaces.count)), \"polished\": \(each.sorted()[each.count / 2]), \"batch\": \(batch)}")
}

/// Steps of training a second on one thread, with the losses that PyTorch's side has: no repricing.
private func steps(_ model: InverseModel) throws {
    let preset = try preset(model.metadata["preset"] ?? "")
    // A tenth validates: as few as can be.
    let data = try SurfaceGenerator(preset, seed: 4).surfaces(count: 25_600, threads: threads)
    var configuration = InverseTraining.Configuration()
    configuration.repricingWeight = 0
    configuration.architecture = model.network.architecture
    var training = InverseTraining(data, configuration)
    var stamps: [Double] = []
    try training.runEpoch(threads: 1) { _ in stamps.append(Double(DispatchTime.now().uptimeNanoseconds)) }
    // The last batch is short.
    let times = zip(stamps.dropFirst(), stamps).map(-).dropLast().sorted()
    print("{\"ns\": \(times[times.count / 2])}")
}

/// Surfaces and what the network says of them, for a comparison with the same weights elsewhere.
private func answers(_ model: InverseModel, _ count: Int) throws {
    let preset = try preset(model.metadata["preset"] ?? "")
    let data = try SurfaceGenerator(preset, seed: 5).surfaces(count: count)
    var inverter = Inverter(model, capacity: count)
    inverter.invert(data.volatilities, count: count)
    let cells = data.volatilities.map { $0.isNaN ? "null" : "\($0)" }.joined(separator: ",")
    let surfaces = (0..<count).map { json(inverter.surface($0)) }.joined(separator: ",")
    print(
        "{\"volatilities\": [\(cells)], \"parameters\": \(json(inverter.parameters.flatMap(\.array))), "
            + "\"deviations\": \(json((0..<count).flatMap { inverter.answer($0).deviations })), "
            + "\"surfaces\": [\(surfaces)]}")
}
