internal import ServiceKit

await ServiceProcess<PolicyServiceDefinition>.main()
