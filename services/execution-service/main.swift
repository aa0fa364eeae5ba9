internal import ServiceKit

await ServiceProcess<ExecutionServiceDefinition>.main()
