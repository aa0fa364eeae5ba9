internal import Features
internal import Kernels
internal import MarketData
internal import RPC
internal import ServiceKit
internal import ServiceLifecycle
internal import Storage
internal import VommaProto

/// trainer: works on the queue of training jobs, and serves the queue and the registry of models.
struct TrainerServiceDefinition: ServiceDefinition {
    static let name = "trainer"
    static let summary = "works on the queue of training jobs, and serves the queue and the registry of models"
    static let defaultPort = DefaultPort.trainer
    static let needsDatabase = true

    private let worker: JobWorker.Configuration

    init(settings: inout Settings) {
        var worker = JobWorker.Configuration(owner: JobWorker.Configuration.processName())
        let lease = settings.int(
            "lease.seconds", default: 10, in: 1...3600,
            "seconds until another trainer takes over the job of one that has gone silent")
        let checkpoint = settings.int(
            "checkpoint.seconds", default: 5, in: 1...3600, "seconds of work between two checkpoints of a job")
        worker.leaseDuration = .seconds(Int64(lease))
        worker.checkpointInterval = .seconds(checkpoint)
        let names = settings.string(
            "feature.modules", default: FeatureModuleKind.standardList,
            "modules of columns (docs/features.md); feature-service's too")
        do throws(FeatureError) { worker.featureModules = try FeatureModuleKind.list(names) } catch {
            settings.fault("VOMMA_FEATURE_MODULES: \(error)")
        }
        self.worker = worker
    }

    func parts(_ environment: ServiceEnvironment) async throws -> ServiceParts {
        // One job at a time on one thread; two would only fight over the caches, and round differently.
        BLAS.setThreadCount(1)
        let pool = try environment.requirePool()
        let worker = JobWorker(worker, pool: pool, log: environment.log)
        var background: [any Service] = [worker]
        if let metrics = environment.metrics {
            background.append(JobQueueMetrics(metrics, pool: pool, log: environment.log))
        }
        return ServiceParts(rpc: [TrainerServer(pool: pool)], background: background)
    }
}
