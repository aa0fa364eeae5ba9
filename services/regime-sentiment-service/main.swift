internal import ServiceKit

await ServiceProcess<RegimeSentimentDefinition>.main()
