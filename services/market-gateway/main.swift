internal import ServiceKit

await ServiceProcess<MarketGatewayDefinition>.main()
