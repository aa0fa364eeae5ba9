internal import ServiceKit

await ServiceProcess<FeatureServiceDefinition>.main()
