internal import ServiceKit

await ServiceProcess<HestonInverterDefinition>.main()
