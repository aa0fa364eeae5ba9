internal import ServiceKit

await ServiceProcess<TrainerServiceDefinition>.main()
